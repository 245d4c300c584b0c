#include "server/backend.h"

#include "chat/fim.h"

namespace moebox {
namespace {

class ModelBackend final : public Backend {
 public:
  ModelBackend(std::shared_ptr<LanguageModel> model, const RoutingBudget& budget)
      : model_(std::move(model)), tokenizer_(model_->tokenizer()) {
    const MoeInfo& moe = model_->engine().model().moe;
    if (moe.n_layers == 0) return;
    budget.validate(moe.top_k);
    budget_ = budget;
  }

  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  int vocab_size() const override { return model_->engine().model().vocab_size; }
  int context_tokens() const override { return model_->engine().options().context_tokens; }
  RoutingBudget budget() const override { return budget_; }

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
  RoutingBudget budget_;
};

}  // namespace

std::shared_ptr<Backend> load_backend(const ServedModel& model, const LanguageModelOptions& options) {
  return std::make_shared<ModelBackend>(LanguageModel::load(model.path, options), model.budget);
}

}  // namespace moebox
