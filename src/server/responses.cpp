#include "server/responses.h"

#include <algorithm>
#include <cmath>

#include <openssl/rand.h>

namespace moebox {
namespace {

/// JSON has no infinity; OpenAI writes -9999 for a token that is as good as impossible.
double finite(float logprob) { return std::isfinite(logprob) ? logprob : -9999.0; }

/// The length of the well-formed UTF-8 character at the front; 0 when there is none (RFC 3629).
std::size_t character_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto follows = [&](std::size_t i) { return (byte(i) & 0xc0u) == 0x80u; };
  const unsigned first = byte(0);
  if (text.empty()) return 0;
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const bool in_range = !(first == 0xe0 && byte(1) < 0xa0) && !(first == 0xed && byte(1) > 0x9f);
    return in_range && follows(1) && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const bool in_range = !(first == 0xf0 && byte(1) < 0x90) && !(first == 0xf4 && byte(1) > 0x8f);
    return in_range && follows(1) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

/// Characters in well-formed text; nothing for text that is not.
std::optional<long long> count_characters(std::string_view text) {
  long long count = 0;
  while (!text.empty()) {
    const std::size_t n = character_bytes(text);
    if (n == 0) return std::nullopt;
    text.remove_prefix(n);
    ++count;
  }
  return count;
}

Json byte_array(std::string_view bytes) {
  Json array = Json::array();
  for (const char c : bytes) array.push_back(static_cast<unsigned>(static_cast<unsigned char>(c)));
  return array;
}

Json token_entry(const Tokenizer& tokenizer, TokenId id, float logprob) {
  return {{"token", display_text(tokenizer, id)},
          {"logprob", finite(logprob)},
          {"bytes", byte_array(tokenizer.token_bytes(id, true))}};
}

Json head_json(const AnswerHead& head, const char* object) {
  return {{"id", head.id},
          {"object", object},
          {"created", head.created},
          {"model", head.model},
          {"system_fingerprint", "moebox-" MOEBOX_VERSION}};
}

}  // namespace

std::string to_text(const Json& document) { return document.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json moe_json(const MoeUsage& usage) {
  return {{"experts_per_token", {{"mean", usage.experts_per_token()}, {"histogram", usage.histogram}}},
          {"active_parameters", usage.active_parameters()},
          {"dropped_mass", usage.dropped_share()},
          {"multiply_adds_saved",
           {{"against_own_k", usage.saved_against_own_k()}, {"against_dense", usage.saved_against_dense()}}}};
}

Json usage_json(const Usage& usage) {
  Json json = {{"prompt_tokens", usage.prompt_tokens},
               {"completion_tokens", usage.completion_tokens},
               {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
               {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
  if (usage.reasoning_tokens) json["completion_tokens_details"] = {{"reasoning_tokens", *usage.reasoning_tokens}};
  if (usage.moe.model.n_layers > 0) json["moe"] = moe_json(usage.moe);
  return json;
}

const char* finish_name(FinishReason reason) { return reason == FinishReason::length ? "length" : "stop"; }

std::string display_text(const Tokenizer& tokenizer, TokenId id) {
  const std::string_view bytes = tokenizer.token_bytes(id, true);
  if (count_characters(bytes)) return std::string(bytes);
  constexpr char digits[] = "0123456789abcdef";
  std::string text = "bytes:";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
  }
  return text;
}

Json chat_logprobs(const Tokenizer& tokenizer, std::span<const GeneratedToken> tokens) {
  Json content = Json::array();
  for (const GeneratedToken& token : tokens) {
    Json entry = token_entry(tokenizer, token.id, token.logprob);
    entry["top_logprobs"] = Json::array();
    for (const TokenLogprob& other : token.top)
      entry["top_logprobs"].push_back(token_entry(tokenizer, other.id, other.logprob));
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

Json completion_logprobs(const Tokenizer& tokenizer, std::span<const GeneratedToken> tokens, long long& offset) {
  Json texts = Json::array(), logprobs = Json::array(), tops = Json::array(), offsets = Json::array();
  for (const GeneratedToken& token : tokens) {
    const std::string text = display_text(tokenizer, token.id);
    Json top = Json::object();
    for (const TokenLogprob& other : token.top) top[display_text(tokenizer, other.id)] = finite(other.logprob);
    // OpenAI always lists the chosen token, even if it is not among the likeliest.
    if (!top.contains(text)) top[text] = finite(token.logprob);
    texts.push_back(text);
    logprobs.push_back(finite(token.logprob));
    tops.push_back(std::move(top));
    offsets.push_back(offset);
    offset += count_characters(text).value_or(0);
  }
  return {{"tokens", std::move(texts)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

Json choice_json(Endpoint endpoint, const ChoiceNews& news) {
  const Json finish = news.finish == nullptr ? Json(nullptr) : Json(news.finish);
  if (endpoint == Endpoint::chat) {
    Json message = {{"role", "assistant"}, {"content", news.text}, {"refusal", nullptr}};
    if (!news.reasoning.empty()) message["reasoning_content"] = news.reasoning;
    return {
        {"index", news.index}, {"message", std::move(message)}, {"logprobs", news.logprobs}, {"finish_reason", finish}};
  }
  return {{"index", news.index}, {"text", news.text}, {"logprobs", news.logprobs}, {"finish_reason", finish}};
}

Json chunk_json(Endpoint endpoint, const ChoiceNews& news) {
  if (endpoint != Endpoint::chat) return choice_json(endpoint, news);
  Json delta = Json::object();
  if (news.first) delta["role"] = "assistant";
  if (!news.reasoning.empty()) delta["reasoning_content"] = news.reasoning;
  if (news.first || !news.text.empty()) delta["content"] = news.text;
  return {{"index", news.index},
          {"delta", std::move(delta)},
          {"logprobs", news.logprobs},
          {"finish_reason", news.finish == nullptr ? Json(nullptr) : Json(news.finish)}};
}

Json answer_json(const AnswerHead& head, Json choices, const Usage& usage) {
  Json answer = head_json(head, head.endpoint == Endpoint::chat ? "chat.completion" : "text_completion");
  answer["choices"] = std::move(choices);
  answer["usage"] = usage_json(usage);
  return answer;
}

Json event_json(const AnswerHead& head, Json choices, const Json* usage) {
  Json event = head_json(head, head.endpoint == Endpoint::chat ? "chat.completion.chunk" : "text_completion");
  event["choices"] = std::move(choices);
  if (usage != nullptr) event["usage"] = *usage;
  return event;
}

HttpResponse json_response(const Json& document) {
  HttpResponse response;
  response.body = to_text(document);
  return response;
}

HttpResponse error_response(const ApiError& error) {
  HttpResponse response;
  response.status = error.status;
  response.body = error.body();
  if (error.retry_after_s > 0) response.headers.emplace_back("Retry-After", std::to_string(error.retry_after_s));
  if (!error.worth_retrying) response.headers.emplace_back("x-should-retry", "false");
  if (error.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

std::string random_id(std::string_view prefix) {
  unsigned char bytes[12];
  if (RAND_bytes(bytes, sizeof bytes) != 1) throw Error(ErrorKind::internal, "no random numbers", "OpenSSL");
  constexpr char digits[] = "0123456789abcdef";
  std::string id(prefix);
  for (const unsigned char byte : bytes) id += {digits[byte >> 4], digits[byte & 15]};
  return id;
}

}  // namespace moebox
