#include "server/messages.h"

#include <array>

#include "server/json_fields.h"

namespace moebox {
namespace {

std::string part_text(const Json& part, const std::string& field) {
  read_object(part, field);
  const auto type = part.find("type");
  if (type == part.end()) refuse_value(field, "needs a 'type'.");
  const std::string& kind = read_string(*type, field + ".type");
  const bool refusal = kind == "refusal";
  if (kind != "text" && !refusal) {
    throw ApiException(
        bad_request("Content of the type '" + kind.substr(0, 64) + "' is not supported: this server reads text.", field,
                    "unsupported_content"));
  }
  const char* name = refusal ? "refusal" : "text";
  const auto text = part.find(name);
  if (text == part.end()) refuse_value(field, std::string("needs a '") + name + "'.");
  return read_string(*text, field + "." + name);
}

std::string content_text(const Json& content, const std::string& field) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) refuse_type(content, field, "a string or an array of parts");
  std::string text;
  for (std::size_t i = 0; i < content.size(); ++i) {
    if (i > 0) text += '\n';
    text += part_text(content[i], field + "[" + std::to_string(i) + "]");
  }
  return text;
}

/// Fields of a message that templates know; the rest is passed over.
struct ExtraField {
  const char* name;
  const char* role;  // nullptr: any
  Json::value_t type;
};
constexpr std::array<ExtraField, 5> extra_fields = {{{"name", nullptr, Json::value_t::string},
                                                     {"tool_calls", "assistant", Json::value_t::array},
                                                     {"tool_call_id", "tool", Json::value_t::string},
                                                     {"reasoning_content", "assistant", Json::value_t::string},
                                                     {"reasoning", "assistant", Json::value_t::string}}};

ChatMessage parse_message(const Json& value, const std::string& field) {
  read_object(value, field);
  ChatMessage message;
  const auto role = value.find("role");
  if (role == value.end()) refuse_value(field, "needs a 'role'.");
  message.role = read_string(*role, field + ".role");
  if (message.role == "developer") message.role = "system";
  if (message.role != "system" && message.role != "user" && message.role != "assistant" && message.role != "tool") {
    refuse_value(field + ".role", "must be system, developer, user, assistant or tool.");
  }
  if (const auto audio = value.find("audio"); audio != value.end() && !audio->is_null()) {
    throw ApiException(
        bad_request("Audio is not supported: this server reads text.", field + ".audio", "unsupported_content"));
  }
  for (const ExtraField& extra : extra_fields) {
    const auto found = value.find(extra.name);
    if (found == value.end() || found->is_null() || (extra.role != nullptr && message.role != extra.role)) continue;
    if (found->type() != extra.type) {
      refuse_type(*found, field + "." + extra.name, extra.type == Json::value_t::array ? "an array" : "a string");
    }
    if (message.extra.is_null()) message.extra = Json::object();
    message.extra[extra.name] = *found;
  }
  const auto given = [&](const char* name) {
    const auto found = value.find(name);
    return found == value.end() || found->is_null() ? nullptr : &*found;
  };
  const Json* content = given("content");
  const Json* refusal = message.role == "assistant" ? given("refusal") : nullptr;
  if (content != nullptr) {
    message.content = content_text(*content, field + ".content");
  } else if (refusal != nullptr) {
    message.content = read_string(*refusal, field + ".refusal");
  } else if (message.role != "assistant") {
    refuse_value(field, "needs 'content'.");
  } else if (message.extra.is_null() || message.extra.value("tool_calls", Json::array()).empty()) {
    refuse_value(field, "needs 'content' or 'tool_calls'.");
  } else {
    // An assistant that only calls tools: templates tell "nothing" from "empty text".
    message.extra["content"] = nullptr;
  }
  return message;
}

}  // namespace

std::vector<ChatMessage> parse_messages(const Json& value) {
  read_array(value, "messages");
  if (value.empty()) refuse_value("messages", "must hold at least one message.");
  std::vector<ChatMessage> messages;
  messages.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i)
    messages.push_back(parse_message(value[i], "messages[" + std::to_string(i) + "]"));
  return messages;
}

}  // namespace moebox
