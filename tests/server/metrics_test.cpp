#include "server/metrics.h"

#include <regex>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

namespace moebox {
namespace {

std::string text_of(const Metrics& metrics) {
  ModelPool::Status status;
  status.name = "quote\"back\\slash";
  status.loaded = true;
  status.waiting = 2;
  status.engine.running = 3;
  status.engine.waiting = 4;
  status.engine.kv_blocks_total = 10;
  status.engine.kv_blocks_used = 5;
  return metrics.text({status}, {});
}

TEST(Metrics, EveryLineIsPrometheusText) {
  Metrics metrics(std::vector<ServedModel>{{"quote\"back\\slash", "x", {}}});
  metrics.count_http("/health", 200);
  const std::regex sample(
      R"re(^[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-z_]+="([^"\\\n]|\\.)*"(,[a-z_]+="([^"\\\n]|\\.)*")*\})? [-+0-9.eInf]+$)re");
  const std::regex comment(R"(^# (HELP [a-zA-Z_:0-9]+ .+|TYPE [a-zA-Z_:0-9]+ (counter|gauge|histogram))$)");
  std::istringstream lines(text_of(metrics));
  std::set<std::string> types;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(std::regex_match(line, line.starts_with("#") ? comment : sample)) << line;
    if (line.starts_with("# TYPE")) {
      EXPECT_TRUE(types.insert(line).second) << "twice: " << line;
    }
  }
  EXPECT_GT(types.size(), 20u);
}

TEST(Metrics, ShowsTheEngine) {
  Metrics metrics(std::vector<ServedModel>{{"quote\"back\\slash", "x", {}}});
  metrics.model("quote\"back\\slash").prompt_tokens += 11;
  const std::string text = text_of(metrics);
  const std::string label = R"({model_name="quote\"back\\slash"} )";
  EXPECT_NE(text.find("vllm:num_requests_running" + label + "3\n"), std::string::npos);
  EXPECT_NE(text.find("vllm:num_requests_waiting" + label + "6\n"), std::string::npos);
  EXPECT_NE(text.find("vllm:kv_cache_usage_perc" + label + "0.5\n"), std::string::npos);
  EXPECT_NE(text.find("vllm:prompt_tokens_total" + label + "11\n"), std::string::npos);
}

TEST(Metrics, ShowsHowEvenlyExpertsAreChosen) {
  const Metrics metrics(std::vector<ServedModel>{{"m", "x", {}}});
  ModelPool::Status status;
  status.name = "m";
  status.engine.expert_load = {{10, 1.5, 0.875}, {}, {10, 4, 0}};
  std::string text = metrics.text({status}, {});
  EXPECT_NE(text.find("moebox:moe_expert_load_max_over_mean{model_name=\"m\",layer=\"0\"} 1.5\n"), std::string::npos);
  EXPECT_NE(text.find("moebox:moe_expert_load_entropy{model_name=\"m\",layer=\"0\"} 0.875\n"), std::string::npos);
  EXPECT_NE(text.find("moebox:moe_expert_load_max_over_mean{model_name=\"m\",layer=\"2\"} 4\n"), std::string::npos);
  EXPECT_EQ(text.find("layer=\"1\""), std::string::npos) << "nothing was chosen there";
  status.engine.expert_load.assign(5000, {10, 1, 1});
  text = metrics.text({status}, {});
  EXPECT_NE(text.find("layer=\"127\""), std::string::npos);
  EXPECT_EQ(text.find("layer=\"128\""), std::string::npos) << "series are bounded";
}

TEST(Metrics, CountWhatTheGatesDid) {
  Metrics metrics(std::vector<ServedModel>{{"m", "x", {}}});
  MoeUsage usage;
  usage.model = {.n_layers = 2, .n_experts = 8, .top_k = 3, .parameters_per_expert = 100};
  usage.model_parameters = 4000;
  usage.histogram = {0, 2, 0, 2};  // two choices of one expert, two of three
  usage.dropped_mass = 1;
  metrics.model("m").add(usage);
  metrics.model("m").add(usage);
  metrics.model("m").add(MoeUsage{});
  ModelPool::Status status;
  status.name = "m";
  const std::string text = metrics.text({status}, {});
  const auto has = [&](const std::string& line) {
    return text.find("\nmoebox:moe_" + line + "\n") != std::string::npos;
  };
  EXPECT_TRUE(has("choices_total{model_name=\"m\"} 8")) << text;
  EXPECT_TRUE(has("experts_total{model_name=\"m\"} 16"));
  EXPECT_TRUE(has("dropped_mass_total{model_name=\"m\"} 2"));
  // Of 4000 parameters 2 x 6 experts of 100 each were idle.
  EXPECT_TRUE(has("active_parameters_total{model_name=\"m\"} 5.6"));
  EXPECT_TRUE(has("multiply_adds_saved_total{model_name=\"m\",against=\"own_k\"} 800"));
  EXPECT_TRUE(has("multiply_adds_saved_total{model_name=\"m\",against=\"dense\"} 4800"));
  EXPECT_TRUE(has("experts_per_token_bucket{model_name=\"m\",le=\"1\"} 4"));
  EXPECT_TRUE(has("experts_per_token_bucket{model_name=\"m\",le=\"3\"} 8"));
  EXPECT_TRUE(has("experts_per_token_sum{model_name=\"m\"} 16"));
}

TEST(Metrics, HistogramsAreCumulative) {
  Histogram histogram({1, 2, 5});
  for (const double value : {0.5, 1.0, 1.5, 7.0}) histogram.observe(value);
  MetricsText text;
  text.histogram("h", {}, histogram);
  EXPECT_EQ(text.take(),
            "h_bucket{le=\"1\"} 2\nh_bucket{le=\"2\"} 3\nh_bucket{le=\"5\"} 3\nh_bucket{le=\"+Inf\"} 4\nh_sum "
            "10\nh_count 4\n");
}

}  // namespace
}  // namespace moebox
