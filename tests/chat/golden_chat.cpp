#include "chat/golden_chat.h"

#include <fstream>
#include <sstream>

#include "base/error.h"

namespace moebox::golden {

std::string read_file(const std::string& name) {
  const std::string path = std::string(MOEBOX_TEST_DIR) + "/golden/chat/" + name;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorKind::not_found, "no such golden file", path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Json read_json(const std::string& name) { return Json::parse(read_file(name)); }

std::vector<std::string> families() {
  std::vector<std::string> names;
  const Json sources = read_json("sources.json");
  for (const auto& [name, unused] : sources.items()) names.push_back(name);
  return names;
}

std::vector<ChatMessage> messages_of(const Json& list) {
  std::vector<ChatMessage> messages;
  for (const Json& entry : list) {
    ChatMessage message;
    message.extra = Json::object();
    for (const auto& [name, value] : entry.items()) {
      if (name == "role") {
        message.role = value.get<std::string>();
      } else if (name == "content" && value.is_string()) {
        message.content = value.get<std::string>();
      } else {
        message.extra[name] = value;
      }
    }
    messages.push_back(std::move(message));
  }
  return messages;
}

ChatTemplateOptions options_of(const Json& variables) {
  ChatTemplateOptions options;
  options.now = fixed_now;
  options.add_generation_prompt = variables.value("add_generation_prompt", false);
  options.variables = Json::object();
  for (const auto& [name, value] : variables.items()) {
    if (name == "tools") {
      options.tools = value;
    } else if (name == "documents") {
      options.documents = value;
    } else if (name != "add_generation_prompt") {
      options.variables[name] = value;
    }
  }
  return options;
}

Json outcome(const std::string& source, const std::string& bos, const std::string& eos,
             const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options) {
  constexpr std::string_view refusal = "the model's chat template refuses these messages: ";
  try {
    const ChatTemplate parsed(source, bos, eos);
    const RenderedPrompt prompt = parsed.render_marked(messages, options);
    return {{"text", prompt.text}};
  } catch (const Error& error) {
    std::string message = error.message();
    const char* kind = "failed";
    if (message.rfind(refusal, 0) == 0) {
      message.erase(0, refusal.size());
      kind = "raised";
    } else if (error.kind() == ErrorKind::invalid_file) {
      kind = "syntax";
    } else if (error.kind() == ErrorKind::resource) {
      kind = "limit";
    } else if (error.kind() != ErrorKind::invalid_argument) {
      kind = "other";
    }
    return {{"error", kind}, {"message", message}};
  }
}

}  // namespace moebox::golden
