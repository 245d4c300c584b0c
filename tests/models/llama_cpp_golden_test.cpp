// The two models of the catalogue against llama.cpp's answers (tests/golden/llama_cpp) and against exact arithmetic on
// the same weights (tests/golden/models). Slow: label "slow".
#include <algorithm>
#include <cstdio>
#include <numeric>

#include <gtest/gtest.h>

#include "models/golden_data.h"

namespace moebox::test {
namespace {

constexpr int n_threads = 2;

std::filesystem::path model_file(const std::string& name) {
  return std::filesystem::path(MOEBOX_MODEL_DIR) / (name + ".gguf");
}

class CatalogueModel : public ::testing::TestWithParam<std::string> {
 protected:
  nlohmann::json golden(const char* folder, const char* what) const {
    return read_json(golden_dir() / folder / (GetParam() + "." + what + ".json"));
  }
};

class GreedyAnswers : public CatalogueModel {};

int argmax(std::span<const float> row) {
  return static_cast<int>(std::max_element(row.begin(), row.end()) - row.begin());
}

/// RMS(a[i] - b[i]) over chosen places.
double rms_difference(std::span<const float> row, std::span<const int> ids, std::span<const float> exact) {
  double sum = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const double difference =
        static_cast<double>(row[static_cast<std::size_t>(ids[i])]) - static_cast<double>(exact[i]);
    sum += difference * difference;
  }
  return std::sqrt(sum / static_cast<double>(ids.size()));
}

// The error of a quantised model comes from its int8 activations. make_exact.py measured in a float model what that
// rounding alone does; ours may be 1.5 times that in the median (the positions scatter), and is not clearly worse than
// llama.cpp's, which rounds alike.
TEST_P(CatalogueModel, LogitsWithinTheBudgetOfInt8Activations) {
  const auto expected = golden("models", "exact");
  const auto ids_file = read_npy(golden_dir() / "models" / (GetParam() + ".ids.npy"));
  const auto exact_file = read_npy(golden_dir() / "models" / (GetParam() + ".logits.npy"));
  const std::span<const int> ids = ids_file.as<std::int32_t>();
  const std::span<const float> exact = exact_file.as<float>();
  const auto per_row = static_cast<std::size_t>(ids_file.shape.at(1));
  const auto deviations = expected.at("row_deviation").get<std::vector<double>>();

  LoadedModel loaded(model_file(GetParam()), KvType::f16, n_threads);
  const auto vocab = static_cast<std::size_t>(loaded.vocab_size());
  std::size_t row = 0;
  std::vector<double> errors;
  for (const auto& prompt : expected.at("prompts")) {
    const auto tokens = prompt.at("tokens").get<std::vector<TokenId>>();
    const auto positions = prompt.at("positions").get<std::vector<int>>();
    const auto logits = logits_at(loaded, tokens, positions, 64);
    for (std::size_t i = 0; i < positions.size(); ++i, ++row) {
      const double error = rms_difference(std::span(logits).subspan(i * vocab, vocab),
                                          ids.subspan(row * per_row, per_row), exact.subspan(row * per_row, per_row)) /
                           deviations.at(row);
      errors.push_back(error);
    }
  }
  ASSERT_EQ(row, deviations.size());
  const auto int8_errors = expected.at("int8_error").get<std::vector<double>>();
  for (std::size_t i = 0; i < errors.size(); ++i) EXPECT_LE(errors[i], 5 * int8_errors.at(i)) << "row " << i;
  std::nth_element(errors.begin(), errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2), errors.end());
  const double error = errors[errors.size() / 2];
  const double int8_error = expected.at("int8_error_median").get<double>();
  const double peer_error = golden("llama_cpp", "error").at("error_median").get<double>();
  std::printf("median error %.4f of the logits' deviation; int8 activations alone %.4f; llama.cpp %.4f\n", error,
              int8_error, peer_error);
  EXPECT_LE(error, 1.5 * int8_error);
  EXPECT_LE(error, 1.5 * peer_error);
}

// llama.cpp's own answer is fed, so that every position is compared and one tie does not hide what follows it. Logits
// do not depend on how tokens are cut into steps (determinism_test), so these are the tokens that generation chooses as
// long as it has chosen the same. The budget of a position says how closely two engines with int8 activations can agree
// there (make_exact.py).
TEST_P(GreedyAnswers, EqualThoseOfLlamaCpp) {
  const auto prompts = golden("llama_cpp", "greedy").at("prompts");
  const auto budgets = golden("models", "greedy").at("prompts");
  ASSERT_GE(prompts.size(), 20u);
  ASSERT_EQ(prompts.size(), budgets.size());
  LoadedModel loaded(model_file(GetParam()), KvType::f16, n_threads);
  const auto vocab = static_cast<std::size_t>(loaded.vocab_size());
  int n_tokens = 0, n_prompts_equal = 0, n_different = 0, ours_from_exact = 0, theirs_from_exact = 0;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const auto& prompt = prompts[p];
    ASSERT_EQ(prompt.at("name"), budgets[p].at("name"));
    const auto exact = budgets[p].at("exact").get<std::vector<TokenId>>();
    const auto budget = budgets[p].at("budget").get<std::vector<double>>();
    const auto answer = prompt.at("greedy").get<std::vector<TokenId>>();
    auto tokens = prompt.at("prompt").get<std::vector<TokenId>>();
    std::vector<int> positions(answer.size());
    std::iota(positions.begin(), positions.end(), static_cast<int>(tokens.size()) - 1);
    tokens.insert(tokens.end(), answer.begin(), answer.end() - 1);
    const auto logits = logits_at(loaded, tokens, positions, 128);
    int different = 0;
    for (std::size_t i = 0; i < answer.size(); ++i, ++n_tokens) {
      const int ours = argmax(std::span(logits).subspan(i * vocab, vocab));
      ours_from_exact += ours != exact.at(i);
      theirs_from_exact += answer[i] != exact.at(i);
      if (ours == answer[i]) continue;
      const auto& pair = prompt.at("logits").at(i);
      EXPECT_LT(pair.at(0).get<double>() - pair.at(1).get<double>(), budget.at(i))
          << prompt.at("name") << ", token " << i << ": " << ours << " instead of " << answer[i];
      ++different;
    }
    n_different += different;
    n_prompts_equal += different == 0;
  }
  std::printf(
      "%d of %zu prompts equal llama.cpp's; %d of %d tokens differ. From the exact model's choice differ: ours %d, "
      "llama.cpp's %d\n",
      n_prompts_equal, prompts.size(), n_different, n_tokens, ours_from_exact, theirs_from_exact);
  // Each difference may be a tie, but an engine that meets more of them than its peer is worse.
  EXPECT_LE(ours_from_exact, theirs_from_exact * 5 / 4 + 5);
}

/// Sum of negative log-likelihoods of tokens[first + 1 ...] as llama.cpp's perplexity tool takes it over one window.
double window_nll(Evaluator& evaluator, std::span<const TokenId> window, int first_scored, std::size_t vocab) {
  double total = 0;
  evaluator.run(window, [&](int first, std::span<const float> rows) {
    for (int position = std::max(first, first_scored); position < static_cast<int>(window.size()) - 1; ++position) {
      if (position >= first + static_cast<int>(rows.size() / vocab)) break;
      const auto row = rows.subspan(static_cast<std::size_t>(position - first) * vocab, vocab);
      const float peak = *std::max_element(row.begin(), row.end());
      double sum = 0;
      for (const float x : row) sum += static_cast<double>(std::exp(x - peak));
      total += static_cast<double>(peak) + std::log(sum) -
               static_cast<double>(row[static_cast<std::size_t>(window[static_cast<std::size_t>(position) + 1])]);
    }
  });
  return total;
}

TEST_P(CatalogueModel, PerplexityWithinHalfAPercentOfLlamaCpp) {
  const auto expected = golden("llama_cpp", "perplexity");
  const int n_window = expected.at("window").get<int>(), first_scored = expected.at("first_scored").get<int>();
  LoadedModel loaded(model_file(GetParam()), KvType::f16, n_threads);
  const auto vocab = static_cast<std::size_t>(loaded.vocab_size());
  Evaluator evaluator(*loaded.model, loaded.team, n_window, 128);
  for (const char* text : {"english", "chinese"}) {
    const auto& golden = expected.at(text);
    const auto ids = read_npy(golden_dir() / "llama_cpp" / (GetParam() + "." + text + ".npy"));
    const std::span<const TokenId> tokens = ids.as<std::int32_t>();
    const auto nll = golden.at("window_nll").get<std::vector<double>>();
    double ours = 0, theirs = 0;
    int n_windows = 0;
    for (std::size_t i = 0; i < nll.size();
         i += 2, ++n_windows) {  // every second one: the test is minutes long otherwise
      const auto window = tokens.subspan(i * static_cast<std::size_t>(n_window), static_cast<std::size_t>(n_window));
      ours += window_nll(evaluator, window, first_scored, vocab);
      theirs += nll[i];
    }
    const auto n_scored = static_cast<double>(n_windows) * (n_window - 1 - first_scored);
    const double ratio = std::exp((ours - theirs) / n_scored);
    std::printf("%s: perplexity %.4f, llama.cpp's %.4f (%d windows), ratio %.5f\n", text, std::exp(ours / n_scored),
                std::exp(theirs / n_scored), n_windows, ratio);
    EXPECT_NEAR(ratio, 1.0, 0.005);
  }
}

std::string short_name(const ::testing::TestParamInfo<std::string>& info) {
  return info.param.starts_with("smollm2") ? "smollm2" : "qwen2";
}

INSTANTIATE_TEST_SUITE_P(Models, CatalogueModel,
                         ::testing::Values("smollm2-135m-instruct-q4_1", "qwen2.5-coder-0.5b-instruct-q4_k_m"),
                         short_name);
INSTANTIATE_TEST_SUITE_P(Models, GreedyAnswers, ::testing::Values("smollm2-135m-instruct-q4_1"), short_name);

}  // namespace
}  // namespace moebox::test
