#include "chat_input.h"

#include "base/error.h"

namespace moebox::python {
namespace {

nlohmann::ordered_json parse(const std::string& json, const char* where) {
  try {
    return nlohmann::ordered_json::parse(json);
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorKind::invalid_argument, "expected text that is valid Unicode", where,
                "a lone surrogate such as \"\\ud800\" is none");
  }
}

}  // namespace

std::vector<ChatMessage> chat_messages(const std::string& json) {
  std::vector<ChatMessage> messages;
  auto list = parse(json, "messages");
  for (std::size_t i = 0; i < list.size(); ++i) {
    nlohmann::ordered_json& object = list[i];
    const std::string where = "messages[" + std::to_string(i) + "]";
    if (!object.is_object() || !object.contains("role") || !object["role"].is_string())
      throw Error(ErrorKind::invalid_argument, "expected a dict with \"role\" and \"content\"", where,
                  "{\"role\": \"user\", \"content\": \"...\"}");
    ChatMessage message;
    message.role = object["role"].get<std::string>();
    object.erase("role");
    if (object.contains("content") && object["content"].is_string()) {
      message.content = object["content"].get<std::string>();
      object.erase("content");
    }
    if (!object.empty()) message.extra = std::move(object);
    messages.push_back(std::move(message));
  }
  if (messages.empty())
    throw Error(ErrorKind::invalid_argument, "expected at least one message, found none", "messages");
  return messages;
}

ChatTemplateOptions chat_options(const std::string& json) {
  ChatTemplateOptions options;
  auto object = parse(json, "template");
  if (object.contains("tools")) options.tools = std::move(object["tools"]);
  if (object.contains("documents")) options.documents = std::move(object["documents"]);
  if (object.contains("variables")) options.variables = std::move(object["variables"]);
  if (object.contains("add_generation_prompt")) options.add_generation_prompt = object["add_generation_prompt"] == true;
  return options;
}

}  // namespace moebox::python
