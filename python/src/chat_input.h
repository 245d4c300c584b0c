// Messages and options of a chat template, from the JSON that Python's side makes of a caller's lists and dicts.
#pragma once

#include <string>
#include <vector>

#include "chat/chat_template.h"

namespace moebox::python {

/// A list of OpenAI messages. Throws Error(invalid_argument).
std::vector<ChatMessage> chat_messages(const std::string& json);
/// An object with tools, documents and variables, each of which may be missing. Throws Error(invalid_argument).
ChatTemplateOptions chat_options(const std::string& json);

}  // namespace moebox::python
