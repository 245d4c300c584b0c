#include <algorithm>
#include <charconv>
#include <span>

#include "routing/budget.h"
#include "server/json_fields.h"
#include "server/messages.h"
#include "server/request.h"
#include "server/strict_json.h"

namespace moebox {
namespace {

// Where a field may occur.
enum Where : unsigned {
  chat = 1,
  completions = 2,
  tokenize = 4,
  detokenize = 8,
  generating = chat | completions,
  all = 15
};

unsigned where_of(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::chat:
      return chat;
    case Endpoint::completions:
      return completions;
    case Endpoint::tokenize:
      return tokenize;
    default:
      return detokenize;
  }
}

struct RealField {
  std::string_view name;
  unsigned where;
  float SamplingParams::* member;
  double least, most;
};

const RealField real_fields[] = {
    {"temperature", generating, &SamplingParams::temperature, 0, 2},
    {"top_p", generating, &SamplingParams::top_p, 0, 1},
    {"min_p", generating, &SamplingParams::min_p, 0, 1},
    {"typical_p", generating, &SamplingParams::typical_p, 0.0001, 1},
    {"repetition_penalty", generating, &SamplingParams::repetition_penalty, 0.01, 10},
    {"frequency_penalty", generating, &SamplingParams::frequency_penalty, -2, 2},
    {"presence_penalty", generating, &SamplingParams::presence_penalty, -2, 2},
};

struct FlagField {
  std::string_view name;
  unsigned where;
  bool ApiRequest::* member;
};

const FlagField flag_fields[] = {
    {"stream", generating, &ApiRequest::stream},
    {"echo", completions, &ApiRequest::echo},
    {"logprobs", chat, &ApiRequest::logprobs},
    {"ignore_eos", generating, &ApiRequest::ignore_eos},
    {"skip_special_tokens", generating, &ApiRequest::skip_special_tokens},
    {"add_special_tokens", completions | tokenize, &ApiRequest::add_special_tokens},
    {"parse_special", completions | tokenize, &ApiRequest::parse_special},
    {"return_token_strs", tokenize, &ApiRequest::return_token_strings},
};

struct Context {
  const ServerLimits& limits;
  ApiRequest& out;
  std::string field;
};

struct OtherField {
  std::string_view name;
  unsigned where;
  void (*read)(const Context&, const Json&);
};

TokenId read_token(const Json& value, const std::string& field) {
  return static_cast<TokenId>(read_integer(value, field, 0, std::numeric_limits<TokenId>::max()));
}

std::vector<TokenId> read_tokens(const Json& value, const std::string& field) {
  std::vector<TokenId> ids;
  ids.reserve(read_array(value, field).size());
  for (const Json& id : value) ids.push_back(read_token(id, field));
  return ids;
}

void read_prompt(const Context& context, const Json& value) {
  std::vector<Prompt>& prompts = context.out.prompts;
  if (value.is_string()) return void(prompts.emplace_back(value.get<std::string>()));
  if (!value.is_array()) refuse_type(value, context.field, "a string, or an array of strings or of token ids");
  if (value.empty()) refuse_value(context.field, "must not be empty.");
  if (value.front().is_number()) return void(prompts.emplace_back(read_tokens(value, context.field)));
  if (static_cast<int>(value.size()) > context.limits.choices) {
    refuse_value(context.field, "holds " + std::to_string(value.size()) + " prompts; at most " +
                                    std::to_string(context.limits.choices) + " are allowed.");
  }
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::string item = context.field + "[" + std::to_string(i) + "]";
    if (value[i].is_array())
      prompts.emplace_back(read_tokens(value[i], item));
    else
      prompts.emplace_back(read_string(value[i], item));
  }
}

void read_stop(const Context& context, const Json& value) {
  const auto add = [&](const Json& text, const std::string& field) {
    const std::string& stop = read_string(text, field);
    if (stop.empty()) refuse_value(field, "must not be empty.");
    if (static_cast<int>(stop.size()) > context.limits.stop_string_bytes) {
      refuse_value(field, "is longer than " + std::to_string(context.limits.stop_string_bytes) + " bytes.");
    }
    context.out.stop.push_back(stop);
  };
  if (value.is_string()) return add(value, context.field);
  if (!value.is_array()) refuse_type(value, context.field, "a string or an array of strings");
  if (static_cast<int>(value.size()) > context.limits.stop_strings) {
    refuse_value(context.field, "holds more than " + std::to_string(context.limits.stop_strings) + " strings.");
  }
  for (std::size_t i = 0; i < value.size(); ++i) add(value[i], context.field + "[" + std::to_string(i) + "]");
}

void read_seed(const Context& context, const Json& value) {
  if (!value.is_number_integer()) refuse_type(value, context.field, "an integer of 64 bits");
  context.out.sampling.seed =
      value.is_number_unsigned() ? value.get<std::uint64_t>() : static_cast<std::uint64_t>(value.get<std::int64_t>());
}

void read_logit_bias(const Context& context, const Json& value) {
  constexpr std::size_t most = 1024;
  if (read_object(value, context.field).size() > most)
    refuse_value(context.field, "holds more than " + std::to_string(most) + " tokens.");
  for (const auto& [key, bias] : value.items()) {
    TokenId id = -1;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), id);
    if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || id < 0) {
      refuse_value(context.field, "must have token ids as keys.");
    }
    context.out.sampling.logit_bias.emplace_back(id, static_cast<float>(read_real(bias, context.field, -100, 100)));
  }
}

void read_max_tokens(const Context& context, const Json& value) {
  const auto most = std::numeric_limits<int>::max();
  const int tokens = static_cast<int>(read_integer(value, context.field, 1, most));
  if (context.out.max_tokens && *context.out.max_tokens != tokens)
    refuse_value("max_tokens", "and 'max_completion_tokens' differ: give one of them.");
  if (context.limits.output_tokens > 0 && tokens > context.limits.output_tokens) {
    refuse_value(context.field,
                 "is larger than this server's limit of " + std::to_string(context.limits.output_tokens) + ".");
  }
  context.out.max_tokens = tokens;
}

void read_stream_options(const Context& context, const Json& value) {
  read_object(value, context.field);
  const auto flag = [&](const char* name) {
    const auto found = value.find(name);
    return found != value.end() && !found->is_null() && read_flag(*found, context.field + "." + name);
  };
  context.out.include_usage = flag("include_usage");
  context.out.continuous_usage = flag("continuous_usage_stats");
}

/// What a model's own number of experts allows is checked by the engine.
void read_moe(const Context& context, const Json& value) {
  RoutingBudget& budget = context.out.budget.emplace();
  for (const auto& [key, item] : read_object(value, context.field).items()) {
    const std::string field = context.field + "." + key;
    const auto count = [&] {
      return static_cast<int>(read_integer(item, field, static_cast<std::int64_t>(moe_experts_range.least),
                                           static_cast<std::int64_t>(moe_experts_range.most)));
    };
    if (item.is_null()) continue;
    if (key == "top_p")
      budget.top_p = static_cast<float>(read_real(item, field, moe_top_p_range));
    else if (key == "threshold")
      budget.threshold = static_cast<float>(read_real(item, field, moe_threshold_range));
    else if (key == "min_experts")
      budget.min_experts = count();
    else if (key == "max_experts")
      budget.max_experts = count();
    else
      refuse_value(field, "is not a field of a budget: top_p, threshold, min_experts and max_experts are.");
  }
}

const OtherField other_fields[] = {
    {"model", all,
     [](const Context& c, const Json& v) {
       if (read_string(v, c.field).size() > 256) refuse_value(c.field, "is longer than 256 bytes.");
       c.out.model = v.get<std::string>();
     }},
    {"messages", chat | tokenize, [](const Context& c, const Json& v) { c.out.messages = parse_messages(v); }},
    {"prompt", completions, read_prompt},
    {"prompt", tokenize, [](const Context& c, const Json& v) { c.out.prompts.emplace_back(read_string(v, c.field)); }},
    {"tokens", detokenize, [](const Context& c, const Json& v) { c.out.tokens = read_tokens(v, c.field); }},
    {"suffix", completions, [](const Context& c, const Json& v) { c.out.suffix = read_string(v, c.field); }},
    {"n", generating,
     [](const Context& c, const Json& v) {
       c.out.n = static_cast<int>(read_integer(v, c.field, 1, c.limits.choices));
     }},
    {"max_tokens", generating, read_max_tokens},
    {"max_completion_tokens", chat, read_max_tokens},
    {"top_k", generating,
     [](const Context& c, const Json& v) {
       c.out.sampling.top_k =
           static_cast<int>(std::max<std::int64_t>(0, read_integer(v, c.field, -1, std::numeric_limits<int>::max())));
     }},
    {"seed", generating, read_seed},
    {"stop", generating, read_stop},
    {"stop_token_ids", generating,
     [](const Context& c, const Json& v) {
       c.out.stop_token_ids = read_tokens(v, c.field);
       if (c.out.stop_token_ids.size() > 256) refuse_value(c.field, "holds more than 256 tokens.");
     }},
    {"logit_bias", generating, read_logit_bias},
    {"moe", generating, read_moe},
    {"logprobs", completions,
     [](const Context& c, const Json& v) {
       c.out.sampling.n_logprobs = static_cast<int>(read_integer(v, c.field, 0, c.limits.top_logprobs));
       c.out.logprobs = true;
     }},
    {"top_logprobs", chat,
     [](const Context& c, const Json& v) {
       c.out.sampling.n_logprobs = static_cast<int>(read_integer(v, c.field, 0, c.limits.top_logprobs));
     }},
    {"stream_options", generating, read_stream_options},
    {"add_generation_prompt", chat | tokenize,
     [](const Context& c, const Json& v) { c.out.template_options.add_generation_prompt = read_flag(v, c.field); }},
    {"chat_template_kwargs", chat | tokenize,
     [](const Context& c, const Json& v) {
       if (read_object(v, c.field).size() > static_cast<std::size_t>(c.limits.template_variables)) {
         refuse_value(c.field, "holds more than " + std::to_string(c.limits.template_variables) + " names.");
       }
       c.out.template_options.variables = v;
     }},
};

/// Fields that would change the answer and are not there (yet). Null and the values in `harmless` (a JSON array) are
/// let through.
struct RefusedField {
  std::string_view name;
  unsigned where;
  const char* harmless;
  const char* what;
};

const RefusedField refused_fields[] = {
    {"tools", generating, "[[]]", "Tool calls are"},
    {"tool_choice", generating, R"(["none","auto"])", "Tool calls are"},
    {"functions", generating, "[[]]", "Function calls are"},
    {"function_call", generating, R"(["none","auto"])", "Function calls are"},
    {"response_format", generating, R"([{"type":"text"}])", "Constrained output is"},
    {"structured_outputs", generating, "[{}]", "Constrained output is"},
    {"guided_json", generating, "[]", "Constrained output is"},
    {"guided_regex", generating, "[]", "Constrained output is"},
    {"guided_choice", generating, "[]", "Constrained output is"},
    {"guided_grammar", generating, "[]", "Constrained output is"},
    {"guided_json_object", generating, "[false]", "Constrained output is"},
    {"grammar", generating, R"([""])", "Constrained output is"},
    {"json_schema", generating, "[{}]", "Constrained output is"},
    {"audio", generating, "[]", "Audio is"},
    {"modalities", generating, R"([["text"]])", "Output other than text is"},
    {"reasoning", generating, "[]", "Control of reasoning is"},
    {"reasoning_effort", generating, R"(["none"])", "Control of reasoning is"},
    {"verbosity", generating, R"(["medium"])", "Control of verbosity is"},
    {"prediction", generating, "[]", "Predicted output is"},
    {"web_search_options", generating, "[]", "Web search is"},
    {"moderation", generating, "[]", "Moderation is"},
    {"logits_processors", generating, "[[]]", "Logits processors from a client are"},
    {"bad_words", generating, "[[]]", "Banned words are"},
    {"allowed_token_ids", generating, "[]", "A list of allowed tokens is"},
    {"min_tokens", generating, "[0]", "A least number of tokens is"},
    {"length_penalty", generating, "[1, 1.0]", "Beam search is"},
    {"early_stopping", generating, "[false]", "Beam search is"},
    {"use_beam_search", generating, "[false]", "Beam search is"},
    {"include_stop_str_in_output", generating, "[false]", "Stop strings in the answer are"},
    {"truncate_prompt_tokens", all, "[]", "Cutting the prompt is"},
    {"prompt_logprobs", generating, "[]", "Logprobs of the prompt are"},
    {"return_tokens_as_token_ids", generating, "[false]", "Tokens as ids are"},
    {"return_token_ids", generating, "[false]", "Tokens as ids are"},
    {"continue_final_message", chat | tokenize, "[false]", "Continuing a message is"},
    {"echo", chat, "[false]", "Echo in chats is"},
    {"add_special_tokens", chat, "[false]", "Special tokens around a chat's template are"},
    {"chat_template", chat | tokenize, "[]", "A client's own chat template is"},
    {"documents", chat, "[[]]", "Retrieval by the template is"},
    {"prompt_embeds", completions, "[]", "Embeddings as a prompt are"},
    {"mm_processor_kwargs", generating, "[{}]", "Images are"},
    {"tfs_z", generating, "[1, 1.0]", "Tail-free sampling is"},
    {"mirostat", generating, "[0]", "Mirostat sampling is"},
    {"dry_multiplier", generating, "[0, 0.0]", "DRY sampling is"},
    {"xtc_probability", generating, "[0, 0.0]", "XTC sampling is"},
};

/// Known, and without effect on the answer here.
constexpr std::string_view ignored_fields[] = {"user",
                                               "metadata",
                                               "store",
                                               "service_tier",
                                               "safety_identifier",
                                               "prompt_cache_key",
                                               "prompt_cache_retention",
                                               "parallel_tool_calls",
                                               "priority",
                                               "request_id",
                                               "spaces_between_special_tokens",
                                               "best_of"};

void refuse_unless_harmless(const RefusedField& field, const Json& value) {
  const Json harmless = Json::parse(field.harmless);
  if (std::find(harmless.begin(), harmless.end(), value) != harmless.end()) return;
  throw ApiException(bad_request(
      std::string(field.what) + " not supported by this server: leave out '" + std::string(field.name) + "'.",
      std::string(field.name), "unsupported_parameter"));
}

/// True when the field is known for this endpoint.
bool read_field(unsigned where, const std::string& name, const Json& value, const ServerLimits& limits,
                ApiRequest& out) {
  const auto find = [&](const auto& table) {
    return std::find_if(std::begin(table), std::end(table),
                        [&](const auto& field) { return field.name == name && (field.where & where) != 0; });
  };
  const bool is_null = value.is_null();  // as good as absent, as clients send it
  if (const auto* field = find(real_fields); field != std::end(real_fields)) {
    if (!is_null) out.sampling.*field->member = static_cast<float>(read_real(value, name, field->least, field->most));
    return true;
  }
  if (const auto* field = find(flag_fields); field != std::end(flag_fields)) {
    if (!is_null) out.*field->member = read_flag(value, name);
    return true;
  }
  if (const auto* field = find(other_fields); field != std::end(other_fields)) {
    if (!is_null) field->read(Context{limits, out, name}, value);
    return true;
  }
  if (const auto* field = find(refused_fields); field != std::end(refused_fields)) {
    if (!is_null) refuse_unless_harmless(*field, value);
    return true;
  }
  return std::find(std::begin(ignored_fields), std::end(ignored_fields), name) != std::end(ignored_fields);
}

void require(const Json& document, const char* name) {
  const auto found = document.find(name);
  if (found == document.end() || found->is_null()) {
    throw ApiException(bad_request(std::string("'") + name + "' is missing.", name, "missing_required_parameter"));
  }
}

/// What no field can know by itself.
void check_together(const Json& document, const ServerLimits& limits, ApiRequest& out) {
  switch (out.endpoint) {
    case Endpoint::chat:
      require(document, "messages");
      break;
    case Endpoint::completions:
      require(document, "prompt");
      break;
    case Endpoint::detokenize:
      require(document, "tokens");
      break;
    default:
      if (out.messages.empty())
        require(document, "prompt");
      else if (!out.prompts.empty())
        refuse_value("prompt", "and 'messages' exclude each other.");
      break;
  }
  if (static_cast<std::int64_t>(out.n) * static_cast<std::int64_t>(std::max<std::size_t>(1, out.prompts.size())) >
      limits.choices) {
    refuse_value("n", "times the number of prompts is more than " + std::to_string(limits.choices) + ".");
  }
  if (const auto best_of = document.find("best_of"); best_of != document.end() && !best_of->is_null()) {
    if (read_integer(*best_of, "best_of", 1, limits.choices) != out.n) {
      throw ApiException(
          bad_request("'best_of' other than 'n' is not supported by this server.", "best_of", "unsupported_parameter"));
    }
  }
  const auto stream_options = document.find("stream_options");
  if (!out.stream && stream_options != document.end() && !stream_options->is_null()) {
    refuse_value("stream_options", "is only allowed when 'stream' is true.");
  }
  if (out.endpoint == Endpoint::chat) {
    if (!out.logprobs && out.sampling.n_logprobs > 0) refuse_value("top_logprobs", "needs 'logprobs' to be true.");
    if (out.logprobs)
      out.sampling.n_logprobs = std::max(0, out.sampling.n_logprobs);
    else
      out.sampling.n_logprobs = -1;
  }
  // OpenAI's range includes 0, which can only mean the likeliest token.
  if (out.sampling.top_p == 0) out.sampling.top_p = std::numeric_limits<float>::min();
  if (out.echo && out.logprobs) {
    throw ApiException(bad_request(
        "Logprobs of the prompt are not supported by this server: 'echo' and 'logprobs' exclude each other.", "echo",
        "unsupported_parameter"));
  }
  if (out.echo && out.suffix) refuse_value("echo", "and 'suffix' exclude each other.");
  if (out.suffix) {
    for (const Prompt& prompt : out.prompts) {
      if (!std::holds_alternative<std::string>(prompt)) refuse_value("suffix", "needs the prompt as text.");
    }
  }
  if (out.endpoint == Endpoint::completions && !out.max_tokens) {
    constexpr int openai_default = 16;
    out.max_tokens = limits.output_tokens > 0 ? std::min(openai_default, limits.output_tokens) : openai_default;
  }
}

}  // namespace

ApiRequest parse_api_request(Endpoint endpoint, std::string_view body, const ServerLimits& limits) {
  const Json document = parse_strict_json(body, {limits.json_depth, limits.json_values});
  if (!document.is_object())
    throw ApiException(bad_request("The body must be a JSON object, not " + describe(document) + "."));
  ApiRequest out;
  out.endpoint = endpoint;
  const unsigned where = where_of(endpoint);
  for (const auto& [name, value] : document.items()) {
    if (!read_field(where, name, value, limits, out) && out.unknown_fields.size() < 20)
      out.unknown_fields.push_back(name.substr(0, 64));
  }
  check_together(document, limits, out);
  return out;
}

}  // namespace moebox
