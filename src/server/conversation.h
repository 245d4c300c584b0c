// A client's conversation as the ids of a prompt.
#pragma once

#include <vector>

#include "server/backend.h"

namespace moebox {

/// Backend::encode_chat for a client's messages. A template that cannot print a message without content (null beside
/// tool_calls) gets an empty text instead. Throws ApiException (400, `messages`) where the template refuses or fails.
std::vector<TokenId> encode_conversation(const Backend& backend, const std::vector<ChatMessage>& messages,
                                         const ChatTemplateOptions& options);

}  // namespace moebox
