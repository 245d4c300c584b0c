#include "language_model/draft_model.h"

#include <memory>
#include <string>

#include "base/error.h"
#include "tokenizer/difference.h"

namespace moebox {
namespace {

/// nullptr where the files carry none.
std::shared_ptr<const Tokenizer> tokenizer_of(const Checkpoint& checkpoint) {
  try {
    return Tokenizer::load(checkpoint);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::not_found) throw;
    return nullptr;
  }
}

}  // namespace

ModelOptions draft_model_options(const ModelOptions& model) {
  ModelOptions options = model;
  options.expert_cache_bytes = 0;
  options.draft_layer = false;
  return options;
}

void check_draft_model(const std::filesystem::path& model, const std::filesystem::path& draft_model) {
  const Checkpoint checkpoint = Checkpoint::open(model);
  check_draft_model(tokenizer_of(checkpoint).get(), describe_model(checkpoint).vocab_size,
                    Checkpoint::open(draft_model));
}

void check_draft_model(const Tokenizer* tokenizer, int vocab_size, const Checkpoint& draft_model) {
  const auto draft_tokenizer = tokenizer_of(draft_model);
  const int draft_vocab_size = describe_model(draft_model).vocab_size;
  std::string difference;
  if (tokenizer != nullptr && draft_tokenizer != nullptr)
    difference = tokenizer_difference(*tokenizer, *draft_tokenizer);
  else if (vocab_size != draft_vocab_size)
    difference = "its vocabulary has " + std::to_string(draft_vocab_size) + " tokens, that of the model has " +
                 std::to_string(vocab_size);
  if (!difference.empty())
    throw Error(ErrorKind::invalid_argument, "cannot draft for this model: " + difference, draft_model.path().string(),
                "--draft-model takes a model of the same family, with the same tokenizer");
}

}  // namespace moebox
