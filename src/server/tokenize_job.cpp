#include "server/conversation.h"
#include "server/json_fields.h"
#include "server/model_job.h"

namespace moebox {
namespace {

/// vLLM's /tokenize and /detokenize.
class TokenizeJob final : public ModelJob {
 public:
  using ModelJob::ModelJob;

 private:
  void run() override { answer(json_response(request().endpoint == Endpoint::tokenize ? tokenize() : detokenize())); }

  Json tokenize() {
    const Backend& backend = *lease();
    const ApiRequest& in = request();
    const std::vector<TokenId> ids = !in.messages.empty()
                                         ? encode_conversation(backend, in.messages, in.template_options)
                                         : backend.tokenizer().encode(std::get<std::string>(in.prompts.front()),
                                                                      in.add_special_tokens, in.parse_special);
    Json answer = {
        {"count", ids.size()}, {"max_model_len", backend.context_tokens()}, {"tokens", ids}, {"token_strs", nullptr}};
    if (in.return_token_strings) {
      Json texts = Json::array();
      for (const TokenId id : ids) texts.push_back(display_text(backend.tokenizer(), id));
      answer["token_strs"] = std::move(texts);
    }
    return answer;
  }

  Json detokenize() {
    const Backend& backend = *lease();
    for (const TokenId id : request().tokens) {
      if (id >= backend.vocab_size())
        refuse_value("tokens", "holds " + std::to_string(id) + ", but the vocabulary ends before " +
                                   std::to_string(backend.vocab_size()) + ".");
    }
    return {{"prompt", backend.tokenizer().decode(request().tokens, true)}};
  }
};

}  // namespace

std::shared_ptr<ModelJob> make_tokenize_job(ServiceContext& context, HttpRequest request,
                                            std::shared_ptr<Responder> responder) {
  return std::make_shared<TokenizeJob>(context, std::move(request), std::move(responder));
}

}  // namespace moebox
