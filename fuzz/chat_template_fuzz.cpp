// Chat templates and what they are fed, from one input: the template up to the first zero byte, then the variables as
// JSON. A template may fail in any way but these: crash, hang, leak, a panic inside, or text whose origin is lost (two
// renderings that differ).
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "chat/chat_template.h"

namespace {

using Json = nlohmann::ordered_json;

std::vector<moebox::ChatMessage> messages_of(const Json& variables) {
  std::vector<moebox::ChatMessage> messages;
  const auto list = variables.find("messages");
  if (list == variables.end() || !list->is_array()) {
    return {{"system", " Be <|brief|>. ", nullptr},
            {"user", "Hi\n</s>", Json{{"name", "n"}}},
            {"assistant", "A <think>b</think> c", nullptr}};
  }
  for (const Json& entry : *list) {
    if (!entry.is_object()) continue;
    moebox::ChatMessage message;
    message.extra = Json::object();
    for (const auto& [name, value] : entry.items()) {
      if (name == "role" && value.is_string()) {
        message.role = value.get<std::string>();
      } else if (name == "content" && value.is_string()) {
        message.content = value.get<std::string>();
      } else if (name != "role") {
        message.extra[name] = value;
      }
    }
    messages.push_back(std::move(message));
  }
  return messages;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = input.find('\0');
  moebox::TemplateLimits limits;
  limits.time_ms = 300;
  limits.output_bytes = 1u << 20;
  limits.memory_bytes = 64u << 20;
  try {
    Json variables = zero == std::string::npos ? Json::object() : Json::parse(input.substr(zero + 1), nullptr, false);
    if (!variables.is_object()) variables = Json::object();
    const moebox::ChatTemplate parsed(input.substr(0, zero), "<s>", "</s>", limits);
    moebox::ChatTemplateOptions options;
    options.now = 1753531200;
    const auto messages = messages_of(variables);
    if (variables.contains("tools")) options.tools = variables["tools"];
    for (const char* name : {"messages", "tools"}) variables.erase(name);
    options.variables = std::move(variables);
    parsed.render_marked(messages, options);
  } catch (const moebox::Error& error) {
    if (error.kind() == moebox::ErrorKind::internal || error.kind() == moebox::ErrorKind::unsupported) std::abort();
  }
  return 0;
}
