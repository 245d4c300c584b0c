// What a client asked for, checked: the typed form of the bodies that the endpoints take.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "chat/chat_template.h"
#include "runtime/request.h"
#include "server/options.h"

namespace moebox {

enum class Endpoint { chat, completions, tokenize, detokenize, models, model, health, ready, metrics };

/// A prompt as text or as token ids.
using Prompt = std::variant<std::string, std::vector<TokenId>>;

struct ApiRequest {
  Endpoint endpoint = Endpoint::chat;
  std::string model;  // empty: the first one served

  // What to continue.
  std::vector<ChatMessage> messages;  // chat, tokenize
  ChatTemplateOptions template_options;
  std::vector<Prompt> prompts;  // completions; one for tokenize
  std::optional<std::string> suffix;
  bool add_special_tokens = true;
  bool parse_special = false;  // control tokens may be written in the prompt's text

  // How.
  SamplingParams sampling;
  std::optional<RoutingBudget> budget;  // on a token's experts; otherwise the model's default holds
  int n = 1;
  std::optional<int> max_tokens;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  bool skip_special_tokens = true;

  // What the answer looks like.
  bool stream = false, include_usage = false, continuous_usage = false;
  bool echo = false;
  bool logprobs = false;
  bool return_token_strings = false;  // tokenize

  std::vector<TokenId> tokens;  // detokenize
  std::vector<std::string> unknown_fields;
};

/// Parses and checks a body. Throws ApiException: 400 with the field's name in `param`.
ApiRequest parse_api_request(Endpoint endpoint, std::string_view body, const ServerLimits& limits);

}  // namespace moebox
