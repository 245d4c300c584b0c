// Messages -> the model's prompt, by the model's own Jinja template (run by minijinja in bridge/).
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace moebox {

class Checkpoint;

/// `role` is "system", "user", "assistant" or "tool"; `content` is text. Further fields of an OpenAI message go through `extra`.
struct ChatMessage {
  std::string role;
  std::string content;
  nlohmann::json extra = nullptr;
};

struct ChatTemplateOptions {
  bool add_generation_prompt = true;
  nlohmann::json variables = nullptr;  // further template variables (an object); names that the renderer itself sets are refused
};

/// Limits on running a template that came with somebody's model. Exceeding one is an Error(resource).
struct TemplateLimits {
  int time_ms = 2000;
  int recursion_depth = 100;
  std::size_t output_bytes = 16u << 20;
  std::size_t source_bytes = 1u << 20;
};

class ChatTemplate {
 public:
  /// Parses; throws Error with the line of the template. bos/eos are texts of the tokens.
  ChatTemplate(std::string source, std::string bos_token, std::string eos_token, TemplateLimits limits = {});
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  /// The template of a model's files. Throws Error(not_found) when there is none.
  static ChatTemplate load(const Checkpoint& checkpoint, const Tokenizer& tokenizer);
  /// True when `checkpoint` carries a template.
  static bool available(const Checkpoint& checkpoint);

  const std::string& source() const noexcept;

  /// The rendered string exactly as transformers' apply_chat_template(tokenize=False) gives it.
  std::string render(const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options = {}) const;

  /// Ids of the rendered prompt. Text that came from a message can never become a control token: its place in the output is known.
  std::vector<TokenId> encode(const std::vector<ChatMessage>& messages, const Tokenizer& tokenizer,
                              const ChatTemplateOptions& options = {}) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moebox
