// A run's page and its model card: what they say, how large they get, and that nothing of a run's folder becomes
// markup.
#include "report/run/run_page.h"

#include <fstream>

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/data_testing.h"
#include "report/run/model_card.h"
#include "report/run_testing.h"

namespace moebox::report::test {
namespace {

namespace fs = std::filesystem;
using moebox::test::expect_error;
using moebox::test::TemporaryFolder;
using moebox::test::write_file;

std::size_t times(const std::string& text, std::string_view what) {
  std::size_t count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

class RunReport : public ::testing::Test {
 protected:
  RunReport() { fs::create_directories(run_ / "model"), fs::create_directory(folder_ / "data"); }

  std::string page(const std::vector<Json>& lines) { return page_of(log_text(lines)); }
  std::string page_of(const std::string& log) {
    write_file(run_ / log_name, log);
    const RunSummary run = summarize_run(run_);
    card_ = model_card(run, {});
    std::string page = run_page(run, card_);
    for (const char* element : {"svg", "table", "h2", "h3", "p", "pre", "details", "tr"})
      EXPECT_EQ(times(page, "<" + std::string(element) + ">") + times(page, "<" + std::string(element) + " "),
                times(page, "</" + std::string(element) + ">"))
          << element;
    for (const char* outside : {"<script", "http:", "https:", "<link", "@import", "url("})
      EXPECT_EQ(page.find(outside), std::string::npos) << outside;
    return page;
  }
  static void expect_parts(const std::string& text, std::initializer_list<const char*> parts) {
    for (const char* part : parts)
      EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text.substr(0, 9000);
  }

  const TemporaryFolder folder_;
  const fs::path run_ = folder_ / "the-run";
  std::string card_;
};

TEST_F(RunReport, SaysHowItWent) {
  const std::string text = page(log_lines(10));
  expect_parts(text, {"<title>the-run</title>",
                      "10 of 100",
                      "not at its end",
                      "尚未结束",
                      "1,000, of which each token uses 600",
                      "2,560, 2,500 of them learnt",
                      "7.5000 (perplexity 1808)",
                      "0.7500 (perplexity 2.117)",
                      "5.0 s, 512 tokens/s",
                      "2.00; 1.0",
                      "Loss",
                      "Learning rate",
                      "Length of the gradient",
                      "Tokens a second",
                      "Layer 1",
                      "Layer 3",
                      "learning_rate",
                      "hidden_size",
                      "Model card",
                      "Each point is a step"});
  EXPECT_EQ(text.find("Memory of the process"), std::string::npos) << "the log has none";
  EXPECT_EQ(text.find("does not fit the chain"), std::string::npos);
  std::vector<Json> lines = log_lines(100);
  for (std::size_t i = 1; i < lines.size(); ++i)
    lines[i]["resident_bytes"] = 3'000'000, lines[i]["peak_bytes"] = 4'000'000;
  lines[50]["skipped"] = true;
  lines[50]["loss"] = lines[50]["cross_entropy"] = nullptr;
  lines[60]["left_out"] = 7;
  const std::string whole = page(lines);
  expect_parts(whole, {"100 of 100", "Memory of the process", "4.0 MB", "steps that were skipped", "class=\"mark\"",
                       "batches left out"});
  EXPECT_EQ(whole.find("not at its end"), std::string::npos);
}

TEST_F(RunReport, OfARunThatHasOnlyBegun) {
  expect_parts(page({head_line()}), {"has not done a step yet", "0 of 100"});
  const std::string text = log_text(log_lines(3));
  expect_parts(page_of(text.substr(0, text.size() - 5)), {"last line is not whole", "2 of 100"});
  expect_error(ErrorKind::not_found, {"train.log.jsonl"}, [&] { summarize_run(folder_.path()); });
  expect_error(ErrorKind::not_found, {"nowhere"}, [&] { summarize_run(folder_ / "nowhere"); });
  std::vector<Json> lines = log_lines(3);
  lines[2]["load"]["1"].push_back(5);
  expect_error(ErrorKind::invalid_file, {"same layers", ":3"}, [&] { page(lines); });
}

TEST_F(RunReport, ALogThatSomebodyChangedIsTold) {
  std::string text = log_text(log_lines(4));
  text[text.find("1.5", text.find("{\"step\":2"))] = '2';
  expect_parts(page_of(text), {"Line 3 of the log does not fit the chain"});
}

TEST_F(RunReport, OneOfManyStepsIsSmall) {
  std::ofstream log(run_ / log_name);
  std::string link;
  const auto write = [&](Json line) {
    link = next_link(link, content_of(line));
    line["chain"] = link;
    log << line.dump() << '\n';
  };
  Json head = head_line();
  head["steps"] = 30'000;
  write(head);
  for (std::int64_t step = 1; step <= 30'000; ++step) {
    Json line = step_line(step);
    line["gradient_norm"] = 1 + static_cast<double>(step % 7);
    if (step == 17'777) line["gradient_norm"] = 40.0;
    line["load"] = {{"1", std::vector<std::int64_t>(16, step % 5)}};
    write(line);
  }
  log.close();
  const RunSummary run = summarize_run(run_);
  const std::string page = run_page(run, "");
  EXPECT_LT(page.size(), 400'000u);
  EXPECT_NE(page.find("Each point stands for 128 steps"), std::string::npos);
  // A single step that stands out is in its cell's most, and in the words for who does not see.
  EXPECT_NE(page.find("gradient: from 1 to 40"), std::string::npos);
  EXPECT_NE(page.find("30,000 of 30,000"), std::string::npos);
}

TEST_F(RunReport, ManyLayersAreCutToTheMostUneven) {
  std::vector<Json> lines = {head_line()};
  for (std::int64_t step = 1; step <= 119; ++step) {
    Json line = step_line(step);
    line["load"] = Json::object();
    for (int layer = 0; layer < 58; ++layer) {
      std::vector<std::int64_t> tokens(256, 10);
      for (std::size_t i = 0; i < tokens.size(); ++i)
        tokens[i] += (step * 7 + static_cast<std::int64_t>(i) * 5) % 13 * (layer == 40 ? 9 : 1);
      line["load"][std::to_string(layer)] = tokens;
    }
    lines.push_back(line);
  }
  const std::string text = page(lines);
  EXPECT_LT(text.size(), 3'000'000u);
  expect_parts(text, {"Of 58 layers the 3 most uneven ones are shown", "Layer 40"});
}

TEST_F(RunReport, NothingBecomesMarkup) {
  const std::string evil = "<img src=x onerror=alert(1)>\"'&|`\n---\n<!--";
  std::vector<Json> lines = log_lines(2);
  for (const char* key : {"architecture", "data", "steps", "parameters", "seed"}) lines[0][key] = evil;
  lines[0][evil] = {{evil, evil}};
  lines[0]["config"] = {{evil, evil}};
  lines[1]["rows"] = evil;
  moebox::test::write_dataset(folder_ / "data", {{"web", moebox::test::documents_of({3, 4})}});
  write_file(run_ / recipe_name, Json({{"file", (folder_ / "recipe.toml").string()}, {"text", evil}}).dump());
  std::string text = page(lines);
  EXPECT_EQ(text.find("<img"), std::string::npos);
  EXPECT_NE(text.find("&lt;img"), std::string::npos);
  EXPECT_EQ(card_.find("<img"), std::string::npos);
  EXPECT_EQ(times(card_, "\n---\n"), 1u) << "the front matter ends once:\n" << card_;
  EXPECT_EQ(times(card_, "<!--"), 1u);
  // A folder's name may be anything but a slash, and no text.
  const fs::path named = folder_ / "<img src=x>\xff";
  fs::create_directory(named);
  write_file(named / log_name, log_text(log_lines(1)));
  const RunSummary run = summarize_run(named);
  EXPECT_EQ(run_page(run, model_card(run, {})).find("<img"), std::string::npos);
}

TEST_F(RunReport, SaysWhatItLearntFrom) {
  data::Manifest manifest = moebox::test::write_dataset(
      folder_ / "data",
      {{"prose", moebox::test::documents_of({30, 40}), 3}, {"chat", moebox::test::documents_of({5}), 1}});
  manifest.settings = {{"sources",
                        {{{"domain", "prose"}, {"files", {"a.txt", "b.txt"}}, {"license", "cc0-1.0"}},
                         {{"domain", "prose"}, {"files", {"<b>.txt"}}, {"origin", "https://example.org"}}}}};
  manifest.domains[0].report = {{"languages",
                                 {{"en", {{"documents", 90}}},
                                  {"zh", {{"documents", 100}}},
                                  {"fr", {{"documents", 1}}},
                                  {"un", {{"documents", 9}}}}}};
  write_file(folder_ / "data/dataset.json", manifest.text());
  write_file(run_ / recipe_name,
             Json({{"file", (folder_ / "recipe.toml").string()}, {"text", "[data]\nfolder = \"data\"\n"}}).dump());
  std::vector<Json> lines = log_lines(2);
  lines[0]["data"] = manifest.digest("train");
  page_of(log_text({head_line()}));
  expect_parts(card_, {"the data that lie there now are others"});
  write_file(run_ / log_name, log_text(lines));
  const RunSummary run = summarize_run(run_);
  const std::string card = model_card(run, {.license = "apache-2.0"});
  expect_parts(card,
               {"---\nlicense: apache-2.0\nlanguage:\n- \"zh\"\n- \"en\"\npipeline_tag: text-generation\ntags:\n- "
                "moebox\n- moe\n",
                "| prose | general | 3 | 2 | 70 | a.txt, b.txt (license: cc0-1.0), &lt;b&gt;.txt (origin: "
                "https://example.org) |",
                "| chat | general | 1 | 1 | 5 |  |", "| learning_rate | 0.001 |"});
  EXPECT_EQ(card.find("\"fr\""), std::string::npos);
  EXPECT_NE(run_page(run, card).find("&lt;b&gt;.txt"), std::string::npos);
  fs::remove_all(folder_ / "data");
  expect_parts(model_card(summarize_run(run_), {}),
               {"the data are not there any more", "# license: is for you to say"});
  expect_error(ErrorKind::invalid_argument, {"--license"}, [&] { model_card(run, {.license = "a\nb: c"}); });
}

TEST_F(RunReport, ACardThatAPersonChangedStays) {
  page(log_lines(2));
  const fs::path file = write_card(run_, card_, false);
  EXPECT_EQ(file, run_ / "model/README.md");
  EXPECT_EQ(write_card(run_, card_, false), file) << "our own is replaced";
  for (const std::string& theirs : {std::string("mine\n"), card_ + "more\n", "x" + card_}) {
    write_file(file, theirs);
    expect_error(ErrorKind::invalid_argument, {"--force", "README.md"}, [&] { write_card(run_, card_, false); });
  }
  write_card(run_, card_, true);
  EXPECT_EQ(fs::file_size(file), card_.size());
  fs::remove_all(run_ / "model");
  expect_error(ErrorKind::not_found, {"no model yet"}, [&] { write_card(run_, card_, false); });
}

}  // namespace
}  // namespace moebox::report::test
