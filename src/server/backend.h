// What the server needs of a loaded model. One implementation wraps LanguageModel; tests bring their own.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "chat/chat_template.h"
#include "language_model/language_model.h"
#include "server/options.h"

namespace moebox {

/// Thread safe.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual const Tokenizer& tokenizer() const = 0;
  virtual int vocab_size() const = 0;
  /// The longest sequence that can run.
  virtual int context_tokens() const = 0;

  /// Prompt ids of a conversation. Throws Error(unsupported) for a model without a chat template.
  virtual std::vector<TokenId> encode_chat(const std::vector<ChatMessage>& messages,
                                           const ChatTemplateOptions& options) const = 0;
  /// Prompt ids that ask for the text between the two. Throws Error(unsupported) for a model without tokens for that.
  virtual std::vector<TokenId> encode_infill(std::string_view prefix, std::string_view suffix) const = 0;

  /// On a token's experts, for requests that bring none.
  virtual RoutingBudget budget() const { return {}; }

  /// How the answer to a conversation's prompt begins.
  virtual Reasoning reasoning(std::span<const TokenId> prompt) const = 0;

  /// See Engine::submit for what it throws.
  virtual RequestId generate(TextRequest request, std::shared_ptr<TextListener> listener) = 0;
  virtual void cancel(RequestId id) noexcept = 0;
  virtual EngineStats stats() const noexcept = 0;
};

/// Loads a model with LanguageModel::load. Throws Error, also for a budget that the model's gates do not allow.
std::shared_ptr<Backend> load_backend(const ServedModel& model, const LanguageModelOptions& options);

}  // namespace moebox
