#include "cli/evaluation.h"

#include <algorithm>

#include "cli/model_source.h"

namespace moebox::cli {

namespace {
constexpr int chunk_tokens = 128;  // logits of so many tokens are in memory at once

/// Nothing is drafted here.
ModelOptions without_drafts(ModelOptions options) {
  options.draft_layer = false;
  return options;
}
}  // namespace

Evaluation::Evaluation(const Settings& settings, const std::filesystem::path& path)
    : checkpoint_(Checkpoint::open(path)),
      team_(static_cast<int>(settings.integer("threads"))),
      model_(load_model(checkpoint_, team_, without_drafts(model_options(settings).model))) {}

const Tokenizer& Evaluation::tokenizer() const {
  if (!tokenizer_) tokenizer_ = Tokenizer::load(checkpoint_);
  return *tokenizer_;
}

void Evaluation::reserve(int max_tokens) {
  evaluator_ = std::make_unique<Evaluator>(*model_, team_, max_tokens, std::min(max_tokens, chunk_tokens));
}

void Evaluation::run(std::span<const TokenId> tokens,
                     const std::function<void(int, std::span<const float>, std::size_t)>& on_rows) {
  const auto vocab = static_cast<std::size_t>(model_->info().vocab_size);
  evaluator_->run(tokens,
                  [&](int first_position, std::span<const float> rows) { on_rows(first_position, rows, vocab); });
}

}  // namespace moebox::cli
