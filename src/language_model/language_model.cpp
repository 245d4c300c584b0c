#include "language_model/language_model.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "chat/text_stream.h"
#include "language_model/draft_model.h"

namespace moebox {
namespace {

/// Turns an engine's tokens into a listener's text; a stop string ends the sequence at the token that completes it.
class TextSink final : public GenerationSink {
 public:
  TextSink(TextStream stream, std::shared_ptr<TextListener> listener)
      : stream_(std::move(stream)), listener_(std::move(listener)) {}

  bool on_token(const GeneratedToken& token) override {
    TextStream::Piece piece = stream_.push(token.id);
    stopped_ = piece.stopped;
    listener_->on_piece({std::move(piece.text), token});
    return !stopped_;
  }

  void on_finish(FinishReason reason, const GenerationStats& stats, const Error* error) override {
    TextFinish finish;
    finish.reason = reason;
    finish.stats = stats;
    if (!stopped_) finish.text = stream_.finish();
    finish.matched_stop = stream_.matched_stop();
    if (error != nullptr) finish.error = *error;
    listener_->on_finish(finish);
  }

 private:
  TextStream stream_;
  std::shared_ptr<TextListener> listener_;
  bool stopped_ = false;
};

}  // namespace

std::shared_ptr<LanguageModel> LanguageModel::load(const std::filesystem::path& path,
                                                   const LanguageModelOptions& options) {
  std::shared_ptr<LanguageModel> result(new LanguageModel(Checkpoint::open(path)));
  const Checkpoint& checkpoint = result->checkpoint_;
  try {
    result->tokenizer_ = Tokenizer::load(checkpoint);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::not_found) throw;  // a model without a tokenizer still computes logits
  }
  if (result->tokenizer_) {
    const auto& special = result->tokenizer_->special();
    const auto text = [&](const std::optional<TokenId>& id) {
      return id ? std::string(result->tokenizer_->token_text(*id)) : std::string();
    };
    if (!options.chat_template.empty())
      result->template_.emplace(options.chat_template, text(special.bos), text(special.eos));
    else if (ChatTemplate::available(checkpoint))
      result->template_.emplace(ChatTemplate::load(checkpoint, *result->tokenizer_));
  }
  if (options.engine.speculation == Speculation::draft) {
    result->draft_checkpoint_.emplace(Checkpoint::open(options.draft_model));
    check_draft_model(result->tokenizer_.get(), describe_model(checkpoint).vocab_size, *result->draft_checkpoint_);
  }
  auto team = std::make_unique<ThreadTeam>(options.engine.n_threads);
  auto model = load_model(checkpoint, *team, options.model);
  if (result->tokenizer_ && result->tokenizer_->vocab_size() > model->info().vocab_size)
    throw Error(ErrorKind::invalid_file,
                "the tokenizer has " + std::to_string(result->tokenizer_->vocab_size()) +
                    " tokens and the model only " + std::to_string(model->info().vocab_size),
                checkpoint.path().string());
  std::unique_ptr<const Model> draft_model;
  if (result->draft_checkpoint_)
    draft_model = load_model(*result->draft_checkpoint_, *team, draft_model_options(options.model));
  EngineOptions engine = options.engine;
  engine.model_identity = std::to_string(checkpoint.file_bytes()) + ' ' + std::to_string(checkpoint.identity());
  result->engine_ =
      std::make_unique<Engine>(std::move(model), std::move(team), std::move(engine), std::move(draft_model));
  return result;
}

const std::shared_ptr<const Tokenizer>& LanguageModel::tokenizer() const {
  if (!tokenizer_)
    throw Error(ErrorKind::unsupported, "the model's files carry no tokenizer, so it cannot read or write text",
                checkpoint_.path().string(), "use token ids");
  return tokenizer_;
}

const ChatTemplate& LanguageModel::chat_template() const {
  if (!template_)
    throw Error(ErrorKind::unsupported, "the model's files carry no chat template", checkpoint_.path().string(),
                "complete plain text instead, or give a template");
  return *template_;
}

std::vector<TokenId> LanguageModel::encode_chat(const std::vector<ChatMessage>& messages,
                                                const ChatTemplateOptions& options) const {
  return chat_template().encode(messages, *tokenizer(), options);
}

Reasoning LanguageModel::reasoning(std::span<const TokenId> prompt) const {
  if (!template_ || !tokenizer_) return Reasoning::none;
  constexpr std::size_t n_last_tokens = 32;  // more than a marker and the blanks behind it take
  const auto end = prompt.last(std::min(prompt.size(), n_last_tokens));
  return reasoning_after(template_->source(), tokenizer_->decode(end, true));
}

RequestId LanguageModel::generate(TextRequest request, std::shared_ptr<TextListener> listener) {
  if (!request.ignore_end) {
    const auto& ends = tokenizer()->special().end_of_generation;
    request.generation.stop_tokens.insert(request.generation.stop_tokens.end(), ends.begin(), ends.end());
  }
  auto sink = std::make_shared<TextSink>(TextStream(tokenizer(), std::move(request.stop_strings), request.show_control),
                                         std::move(listener));
  return engine_->submit(std::move(request.generation), std::move(sink));
}

}  // namespace moebox
