#include "server/conversation.h"

#include <algorithm>

#include "base/error.h"
#include "server/api_error.h"

namespace moebox {
namespace {

bool has_no_content(const ChatMessage& message) {
  if (!message.extra.is_object()) return false;
  const auto content = message.extra.find("content");
  return content != message.extra.end() && content->is_null();
}

std::vector<TokenId> encode_with_or_without_null(const Backend& backend, const std::vector<ChatMessage>& messages,
                                                 const ChatTemplateOptions& options) {
  if (std::none_of(messages.begin(), messages.end(), has_no_content)) return backend.encode_chat(messages, options);
  try {
    return backend.encode_chat(messages, options);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::invalid_argument) throw;
  }
  std::vector<ChatMessage> filled = messages;
  for (ChatMessage& message : filled) {
    if (has_no_content(message)) message.extra.erase("content");
  }
  return backend.encode_chat(filled, options);
}

}  // namespace

std::vector<TokenId> encode_conversation(const Backend& backend, const std::vector<ChatMessage>& messages,
                                         const ChatTemplateOptions& options) {
  try {
    return encode_with_or_without_null(backend, messages, options);
  } catch (const Error& error) {
    // A template's own complaint (roles must alternate ...) is about the messages. Its limits are not about the queue.
    if (error.kind() == ErrorKind::resource)
      throw ApiException(bad_request("The chat template exceeds its limits on these messages.", "messages"));
    if (error.kind() == ErrorKind::invalid_argument || error.kind() == ErrorKind::unsupported)
      throw ApiException(bad_request(error.message(), "messages"));
    throw;
  }
}

}  // namespace moebox
