#include "cli/text_score.h"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox::cli {
namespace {

/// -log p(next | row), from logits in double precision.
double negative_log_likelihood(std::span<const float> logits, TokenId next) {
  double largest = logits[0];
  for (const float value : logits) largest = std::max(largest, static_cast<double>(value));
  double sum = 0;
  for (const float value : logits) sum += std::exp(static_cast<double>(value) - largest);
  return std::log(sum) + largest - static_cast<double>(logits[static_cast<std::size_t>(next)]);
}

}  // namespace

double TextScore::perplexity() const { return std::exp(mean()); }

double TextScore::error() const {
  const double n = static_cast<double>(count);
  const double variance = std::max(0.0, sum_of_squares / n - mean() * mean());
  return n > 1 ? std::sqrt(variance / (n - 1)) * perplexity() : 0;
}

TextWindows::TextWindows(const ModelInfo& model, std::vector<TokenId> tokens, std::optional<TokenId> bos, int window,
                         int n_windows, const std::string& where)
    : tokens_(std::move(tokens)), window_(static_cast<std::size_t>(window)) {
  if (window > model.max_context)
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected at most the model's context of {}, found {}", model.max_context, window),
                "--window");
  n_windows_ = tokens_.size() / window_;
  if (n_windows > 0) n_windows_ = std::min(n_windows_, static_cast<std::size_t>(n_windows));
  if (n_windows_ == 0)
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected at least one window of {} tokens, found {} tokens", window, tokens_.size()),
                where, "a longer text, or a smaller --window");
  if (bos && tokens_.front() == *bos) bos_ = bos;
}

TextScore TextWindows::score(Evaluation& evaluation,
                             const std::function<void(int, const TextScore&)>& on_window) const {
  const std::size_t first_scored = window_ / 2;
  TextScore score;
  for (std::size_t w = 0; w < n_windows_; ++w) {
    const std::span<const TokenId> truth = std::span(tokens_).subspan(w * window_, window_);
    std::vector<TokenId> ids(truth.begin(), truth.end());
    if (bos_) ids.front() = *bos_;
    evaluation.run(ids, [&](int first_position, std::span<const float> rows, std::size_t vocab) {
      for (std::size_t row = 0; row * vocab < rows.size(); ++row) {
        const std::size_t position = static_cast<std::size_t>(first_position) + row;
        if (position < first_scored || position + 1 >= window_) continue;
        score.add(negative_log_likelihood(rows.subspan(row * vocab, vocab), truth[position + 1]));
      }
    });
    on_window(static_cast<int>(w) + 1, score);
  }
  return score;
}

}  // namespace moebox::cli
