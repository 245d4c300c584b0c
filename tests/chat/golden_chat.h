// Reads the golden data of tests/golden/chat: conversations, templates, and what transformers rendered.
#pragma once

#include <string>
#include <vector>

#include "chat/chat_template.h"

namespace moebox::golden {

using Json = nlohmann::ordered_json;

inline constexpr std::int64_t fixed_now = 1753531200;  // as in make_golden.py

/// A file of tests/golden/chat.
std::string read_file(const std::string& name);
Json read_json(const std::string& name);
/// The names of sources.json: one for each family of models.
std::vector<std::string> families();

/// Messages of OpenAI's shape as ours.
std::vector<ChatMessage> messages_of(const Json& list);
/// "tools", "documents", "add_generation_prompt" to their fields, all else to `variables`.
ChatTemplateOptions options_of(const Json& variables);

/// {"text": ...} or {"error": "raised" | "failed" | "syntax" | "limit", "message": ...}, as make_golden.py writes it.
Json outcome(const std::string& source, const std::string& bos, const std::string& eos,
             const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options);

}  // namespace moebox::golden
