// How well a model predicts a text, window by window as llama.cpp's tool does it: perplexity and sweeps share it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/evaluation.h"

namespace moebox::cli {

/// The mean of -log p over the scored tokens. The sum of the squares goes into the error of the mean.
struct TextScore {
  double sum = 0, sum_of_squares = 0;
  long long count = 0;

  void add(double negative_log) {
    sum += negative_log;
    sum_of_squares += negative_log * negative_log;
    ++count;
  }
  double mean() const { return sum / static_cast<double>(count); }
  double perplexity() const;
  /// One standard error of the perplexity, by the delta method.
  double error() const;
};

/// Whole windows of a text.
class TextWindows {
 public:
  /// `n_windows` 0: all. A window begins as a text begins: with `bos` where `tokens` do. Throws Error(invalid_argument)
  /// for a window beyond the model's context and for a text shorter than a window; `where` names the text.
  TextWindows(const ModelInfo& model, std::vector<TokenId> tokens, std::optional<TokenId> bos, int window,
              int n_windows, const std::string& where);

  int window_tokens() const { return static_cast<int>(window_); }
  int n_windows() const { return static_cast<int>(n_windows_); }
  /// Scores the second half of every window. `evaluation` has reserved window_tokens(). `on_window` hears of progress.
  TextScore score(Evaluation& evaluation, const std::function<void(int, const TextScore&)>& on_window) const;

 private:
  std::vector<TokenId> tokens_;
  std::optional<TokenId> bos_;
  std::size_t window_, n_windows_;
};

}  // namespace moebox::cli
