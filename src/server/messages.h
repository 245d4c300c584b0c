// The field `messages` of a chat request.
#pragma once

#include <vector>

#include "chat/chat_template.h"
#include "server/strict_json.h"

namespace moebox {

/// Content as text or as parts of text; "developer" is "system". Throws ApiException that names the message and its
/// field.
std::vector<ChatMessage> parse_messages(const Json& value);

}  // namespace moebox
