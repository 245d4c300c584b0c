#include "server/backend.h"

#include "chat/fim.h"

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

}  // namespace

std::shared_ptr<Backend> load_backend(const ServedModel& model, const LanguageModelOptions& options) {
  return std::make_shared<ModelBackend>(LanguageModel::load(model.path, options));
}

}  // namespace moebox
