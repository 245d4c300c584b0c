// A second model that drafts for a model: whether it can, and how it is loaded.
#pragma once

#include <filesystem>

#include "io/checkpoint.h"
#include "models/model.h"
#include "tokenizer/tokenizer.h"

namespace moebox {

/// Of the draft model, where these are the model's: the same cache's type, but all its weights are in memory.
ModelOptions draft_model_options(const ModelOptions& model);

/// Throws Error(invalid_argument), with the first difference, when the two models do not mean the same by every token
/// id. Files without a tokenizer are compared by the vocabulary's size.
void check_draft_model(const std::filesystem::path& model, const std::filesystem::path& draft_model);
/// The same for a model whose tokenizer (or nullptr) and whose size of the vocabulary these are.
void check_draft_model(const Tokenizer* tokenizer, int vocab_size, const Checkpoint& draft_model);

}  // namespace moebox
