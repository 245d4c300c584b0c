// A conversation to tokens and masks: what the model itself would write is learnt, and nothing else.
#pragma once

#include <string>
#include <vector>

#include "chat/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace moebox::data {

struct MaskedTokens {
  std::vector<TokenId> ids;
  std::vector<std::uint8_t> mask;  // 1: learnt
};

struct MaskedConversation {
  /// One, or one for each answer: see below.
  std::vector<MaskedTokens> documents;
  std::string text;               // all of it as the template writes it: what duplicates are found by
  const char* dropped = nullptr;  // empty_mask, template_refuses, template_mismatch
};

/// Renders with the model's own template. An answer is what stands between the prompt that the template writes for the
/// messages before it, with its beginning of an answer, and the token that ends the answer, which is learnt, too. Where
/// a template writes earlier answers otherwise than it asks for them (without their thinking, say), every answer
/// becomes a document of its own, with the conversation before it as the template writes it then: so what is learnt is
/// what a server will see. Dates that a template asks for are those of 1 January 2025: the same data every time. Throws
/// Error(unsupported) for a tokenizer that changes text, so that its tokens cannot be followed.
MaskedConversation mask_conversation(const std::vector<ChatMessage>& messages, const ChatTemplate& chat_template,
                                     const Tokenizer& tokenizer);

}  // namespace moebox::data
