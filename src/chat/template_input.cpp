#include "chat/template_input.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"

namespace moebox {
namespace {

using Json = nlohmann::ordered_json;

constexpr int max_depth = 100;

// What the renderer sets, what transformers' apply_chat_template takes as arguments of its own, and the template
// language's words.
constexpr std::array reserved_names = {
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "continue_final_message",
    "bos_token",
    "eos_token",
    "unk_token",
    "pad_token",
    "sep_token",
    "cls_token",
    "mask_token",
    "image_token",
    "audio_token",
    "additional_special_tokens",
    "tokenize",
    "chat_template",
    "conversation",
    "conversations",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "return_dict",
    "return_assistant_tokens_mask",
    "tokenizer",
    "tokenizer_kwargs",
    "template_kwargs",
    "self",
    "loop",
    "caller",
    "super",
    "varargs",
    "kwargs",
    "range",
    "dict",
    "namespace",
    "raise_exception",
    "strftime_now",
    "lipsum",
    "cycler",
    "joiner",
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "not",
    "and",
    "or",
    "in",
    "is",
    "if",
    "else",
};

[[noreturn]] void refuse(std::string message, std::string where, std::string hint = {}) {
  throw Error(ErrorKind::invalid_argument, std::move(message), std::move(where), std::move(hint));
}

void check_depth(const Json& value, const std::string& where, int depth = 1) {
  if (depth > max_depth) refuse("nested deeper than " + std::to_string(max_depth), where);
  if (value.is_structured()) {
    for (const Json& item : value) check_depth(item, where, depth + 1);
  }
}

bool is_identifier(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (name.empty() || name.size() > 100 || !letter(name[0])) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

Json message_json(const ChatMessage& message, const std::string& where) {
  Json result = {{"role", message.role}, {"content", message.content}};
  if (message.extra.is_null()) return result;
  if (!message.extra.is_object()) refuse("the further fields of a message must be an object", where);
  check_depth(message.extra, where);
  for (const auto& [name, value] : message.extra.items()) {
    if (name == "role") refuse("'role' cannot be set a second time", where);
    if (name == "content" && !message.content.empty()) refuse("'content' cannot be set a second time", where);
    result[name] = value;
  }
  // As transformers does: templates read a model's reasoning under either name.
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const auto found = result.find(name);
    if (found == result.end() || found->is_null()) continue;
    const Json reasoning = *found;
    if (!result.contains("thinking")) result["thinking"] = reasoning;
    result["reasoning_content"] = reasoning;
    break;
  }
  return result;
}

Json optional_list(const Json& list, const char* name) {
  if (!list.is_null() && !list.is_array()) refuse("expected a list", name);
  check_depth(list, name);
  return list;
}

std::string dump(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

std::string template_variables(const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options) {
  Json variables = Json::object();
  if (!options.variables.is_null()) {
    if (!options.variables.is_object()) refuse("expected an object of template variables", "variables");
    check_depth(options.variables, "variables");
    for (const auto& [name, value] : options.variables.items()) {
      const bool reserved =
          std::find(reserved_names.begin(), reserved_names.end(), std::string_view(name)) != reserved_names.end();
      if (reserved || !is_identifier(name)) {
        refuse("'" + name + "' cannot be a template variable", "variables",
               "the renderer sets it, or it is no name; leave it out");
      }
      variables[name] = value;
    }
  }
  Json list = Json::array();
  for (std::size_t i = 0; i < messages.size(); ++i) {
    list.push_back(message_json(messages[i], "messages[" + std::to_string(i) + "]"));
  }
  variables["messages"] = std::move(list);
  variables["tools"] = optional_list(options.tools, "tools");
  variables["documents"] = optional_list(options.documents, "documents");
  return dump(variables);
}

std::string trusted_variables(const std::string& bos_token, const std::string& eos_token, bool add_generation_prompt) {
  Json variables = {{"add_generation_prompt", add_generation_prompt}};
  if (!bos_token.empty()) variables["bos_token"] = bos_token;
  if (!eos_token.empty()) variables["eos_token"] = eos_token;
  return dump(variables);
}

}  // namespace moebox
