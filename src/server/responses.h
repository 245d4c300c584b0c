// The shapes of OpenAI's answers, whole and in chunks. No state: everything comes in as arguments.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "runtime/request.h"
#include "server/api_error.h"
#include "server/http_message.h"
#include "server/request.h"
#include "server/strict_json.h"
#include "tokenizer/tokenizer.h"

namespace moebox {

/// One line of JSON; text that is no UTF-8 is replaced, never thrown at.
std::string to_text(const Json& document);

/// What all chunks and answers of one request share.
struct AnswerHead {
  Endpoint endpoint = Endpoint::chat;  // chat or completions
  std::string id;                      // "chatcmpl-..." or "cmpl-..."
  std::int64_t created = 0;            // Unix seconds
  std::string model;
};

struct Usage {
  long long prompt_tokens = 0, completion_tokens = 0;
  long long cached_tokens = 0;                // of the prompts'
  std::optional<long long> reasoning_tokens;  // of the latter; of models that think
  MoeUsage moe;
};

/// OpenAI's counts, those of the cache and of the thinking among them, and for a model with experts "moe": what its
/// gates chose. The histogram counts pairs of token and layer by their number of experts, from 0 on.
Json usage_json(const Usage& usage);
Json moe_json(const MoeUsage& usage);

/// "stop", "length" ... as OpenAI calls it.
const char* finish_name(FinishReason reason);

/// The text of a token for people; bytes that are no UTF-8 as "bytes:\xe4\xbd".
std::string display_text(const Tokenizer& tokenizer, TokenId id);

/// {"content": [{"token", "logprob", "bytes", "top_logprobs"}], "refusal": null}
Json chat_logprobs(const Tokenizer& tokenizer, std::span<const GeneratedToken> tokens);
/// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}; `offset` counts characters and moves on.
Json completion_logprobs(const Tokenizer& tokenizer, std::span<const GeneratedToken> tokens, long long& offset);

struct ChoiceNews {
  int index = 0;
  std::string text, reasoning;
  bool first = false;  // of a chat's choice: carries the role
  Json logprobs = nullptr;
  const char* finish = nullptr;  // nullptr: not yet
};

/// An answer of one choice or a chunk of it.
Json choice_json(Endpoint endpoint, const ChoiceNews& news);
Json chunk_json(Endpoint endpoint, const ChoiceNews& news);

/// The whole answer: `choices` is an array of choice_json.
Json answer_json(const AnswerHead& head, Json choices, const Usage& usage);
/// One event of a stream. `usage`: absent (nullptr), or what the field holds.
Json event_json(const AnswerHead& head, Json choices, const Json* usage);

HttpResponse json_response(const Json& document);
HttpResponse error_response(const ApiError& error);

/// `prefix` and 24 random characters.
std::string random_id(std::string_view prefix);

}  // namespace moebox
