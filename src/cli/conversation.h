// The messages of a chat: kept, cut to the context, saved and loaded. Knows no terminal.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "chat/chat_template.h"

namespace moebox::cli {

class Conversation {
 public:
  std::string system;

  const std::vector<ChatMessage>& turns() const { return turns_; }
  /// The system prompt, when there is one, and the turns.
  std::vector<ChatMessage> messages() const;
  void add(std::string role, std::string content) { turns_.push_back({std::move(role), std::move(content)}); }
  /// Takes back the last turn.
  void undo();
  void clear() { turns_.clear(); }

  /// Ids of the conversation in at most `limit` tokens: the oldest turns are forgotten until it fits, an answer
  /// together with its question. `dropped` counts them. Empty when the last message alone is too long; `needed` is then
  /// the tokens that it takes.
  using Encode = std::function<std::vector<TokenId>(const std::vector<ChatMessage>&)>;
  std::vector<TokenId> encode_within(int limit, const Encode& encode, int& dropped, int& needed);

  /// As JSON with the model's name, for people and other programs to read.
  void save(const std::string& file, const std::string& model) const;
  /// Replaces this conversation. Throws Error: not_found, io, invalid_file; this one is then as it was.
  void load(const std::string& file);

 private:
  std::vector<ChatMessage> turns_;
};

}  // namespace moebox::cli
