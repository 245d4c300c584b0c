#include "server/backend.h"

#include <algorithm>

#include "chat/fim.h"
#include "server/api_error.h"

namespace moebox {
namespace {

class ModelBackend final : public Backend {
 public:
  explicit ModelBackend(std::shared_ptr<LanguageModel> model)
      : model_(std::move(model)), tokenizer_(model_->tokenizer()) {}

  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  int vocab_size() const override { return model_->engine().model().vocab_size; }
  int context_tokens() const override { return model_->engine().options().context_tokens; }

  std::vector<TokenId> encode_chat(const std::vector<ChatMessage>& messages,
                                   const ChatTemplateOptions& options) const override {
    return model_->encode_chat(messages, options);
  }

  std::vector<TokenId> encode_infill(std::string_view prefix, std::string_view suffix) const override {
    return fill_in_prompt(*tokenizer_, prefix, suffix);
  }

  Reasoning reasoning(std::span<const TokenId> prompt) const override { return model_->reasoning(prompt); }

  RequestId generate(TextRequest request, std::shared_ptr<TextListener> listener) override {
    return model_->generate(std::move(request), std::move(listener));
  }
  void cancel(RequestId id) noexcept override { model_->engine().cancel(id); }
  EngineStats stats() const noexcept override { return model_->engine().stats(); }

 private:
  const std::shared_ptr<LanguageModel> model_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
};

bool has_no_content(const ChatMessage& message) {
  if (!message.extra.is_object()) return false;
  const auto content = message.extra.find("content");
  return content != message.extra.end() && content->is_null();
}

std::vector<TokenId> encode_with_or_without_null(const Backend& backend, const std::vector<ChatMessage>& messages,
                                                 const ChatTemplateOptions& options) {
  if (std::none_of(messages.begin(), messages.end(), has_no_content)) return backend.encode_chat(messages, options);
  try {
    return backend.encode_chat(messages, options);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::invalid_argument) throw;
  }
  std::vector<ChatMessage> filled = messages;
  for (ChatMessage& message : filled) {
    if (has_no_content(message)) message.extra.erase("content");
  }
  return backend.encode_chat(filled, options);
}

}  // namespace

std::vector<TokenId> encode_conversation(const Backend& backend, const std::vector<ChatMessage>& messages,
                                         const ChatTemplateOptions& options) {
  try {
    return encode_with_or_without_null(backend, messages, options);
  } catch (const Error& error) {
    // A template's own complaint (roles must alternate ...) is about the messages. Its limits are not about the queue.
    if (error.kind() == ErrorKind::resource)
      throw ApiException(bad_request("The chat template exceeds its limits on these messages.", "messages"));
    if (error.kind() == ErrorKind::invalid_argument || error.kind() == ErrorKind::unsupported)
      throw ApiException(bad_request(error.message(), "messages"));
    throw;
  }
}

std::shared_ptr<Backend> load_backend(const ServedModel& model, const LanguageModelOptions& options) {
  return std::make_shared<ModelBackend>(LanguageModel::load(model.path, options));
}

}  // namespace moebox
