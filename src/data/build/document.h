// From a record to what is learnt: the text or the messages in it, or the reason why there is none.
#pragma once

#include <string>
#include <vector>

#include "chat/chat_template.h"
#include "data/build/source.h"

namespace moebox::data {

struct Document {
  std::string text;                   // of a text
  std::vector<ChatMessage> messages;  // or of a conversation
  bool is_conversation = false;
  const char* dropped = nullptr;  // the reason why there is nothing
  bool invalid_utf8 = false;      // bytes that are no UTF-8 were replaced by U+FFFD
};

/// What becomes of bytes that are no UTF-8.
enum class InvalidUtf8 : std::uint8_t { replace, drop };

/// Takes the record apart by its source's format. Never throws for what a record says: reasons are empty, binary,
/// invalid_utf8, invalid_json, no_such_field, not_a_text, not_messages.
Document read_document(Record& record, const SourceOptions& source, InvalidUtf8 invalid);

}  // namespace moebox::data
