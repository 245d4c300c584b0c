// Messages and options as the JSON that the bridge gives to a template. Checks what a client may set; runs nothing.
#pragma once

#include <string>
#include <vector>

#include "chat/chat_template.h"

namespace moebox {

/// What came from outside: messages, tools, documents, further variables. Throws Error(invalid_argument).
std::string template_variables(const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options);

/// What the renderer itself says: the texts of bos and eos (left out when empty), add_generation_prompt.
std::string trusted_variables(const std::string& bos_token, const std::string& eos_token, bool add_generation_prompt);

}  // namespace moebox
