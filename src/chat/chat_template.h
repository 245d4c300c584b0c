// Messages -> the model's prompt, by the model's own Jinja template (run by minijinja in bridge/).
//
// Where text came from. Every string of a message, a tool, a document or a variable is marked before the template runs:
// a pair of private-use characters that occur nowhere in the input encloses it. The template never sees the marks. The
// bridge replaces every operator, method, filter and test of the template language that looks into a string by one that
// knows of marks, so that a comparison, split(), strip(), a slice or a length gives what it would without them, and
// each piece of text carries its marks to where it ends up; a change that cannot be followed character by character
// (title(), str.format of a whole) marks its whole result. The marks of the output are then the byte ranges that came
// from outside, and the tokenizer makes control tokens only from bytes that the template wrote itself: not from a
// spelling in a text, nor from one that begins in the template and ends in a text, nor from one that two texts make
// together. encode() renders once more without marks and refuses a template whose two results differ. Exceptions are
// the roles system, developer, user, assistant, tool, function and ipython (some templates build "<|user|>" from them),
// the texts of bos and eos, and what the template has written down itself. Any other role is text like the rest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tokenizer/tokenizer.h"

namespace moebox {

class Checkpoint;

/// `role` is "system", "user", "assistant" or "tool"; `content` is text. Further fields of an OpenAI message (name,
/// tool_calls, tool_call_id, reasoning_content ...) go through `extra`, an object whose order is kept; its "content"
/// (null, or a list of parts) is taken only when `content` is empty, and "role" is refused. Invalid UTF-8 counts as
/// U+FFFD.
struct ChatMessage {
  std::string role;
  std::string content;
  nlohmann::ordered_json extra = nullptr;
};

struct ChatTemplateOptions {
  bool add_generation_prompt = true;
  nlohmann::ordered_json tools = nullptr;      // a list of OpenAI tools
  nlohmann::ordered_json documents = nullptr;  // a list of objects, for templates that cite
  nlohmann::ordered_json variables =
      nullptr;  // further template variables (an object); names that the renderer sets are refused
  std::optional<std::int64_t>
      now;  // seconds since 1970 for strftime_now(), in the local time zone; the clock when empty
};

/// Limits on running a template that came with somebody's model. Exceeding one is an Error(resource).
struct TemplateLimits {
  int time_ms = 2000;
  int recursion_depth = 100;
  std::size_t output_bytes = 16u << 20;
  std::size_t source_bytes = 1u << 20;
  std::size_t memory_bytes = 256u << 20;
};

/// A rendered prompt, and the byte ranges [first, second) of it that came from outside: ordered, apart from each other.
struct RenderedPrompt {
  std::string text;
  std::vector<std::pair<std::size_t, std::size_t>> outside;

  /// The text in pieces for Tokenizer::encode, views of `text`.
  std::vector<TextSpan> spans() const;
};

/// Immutable; several threads may render at once.
class ChatTemplate {
 public:
  /// Parses; throws Error with the line of the template: invalid_file when it does not parse or uses a tag, filter or
  /// test that is not supported. bos/eos are texts of the tokens, empty where there is none.
  ChatTemplate(std::string source, std::string bos_token, std::string eos_token, TemplateLimits limits = {});
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  /// The template of a model's files. Throws Error(not_found) when there is none.
  static ChatTemplate load(const Checkpoint& checkpoint, const Tokenizer& tokenizer);
  /// True when `checkpoint` carries a template.
  static bool available(const Checkpoint& checkpoint);
  /// The template of a folder of tokenizer's files, of which a model need not be part; nothing when there is none.
  static std::optional<ChatTemplate> find_in_folder(const std::filesystem::path& folder, const Tokenizer& tokenizer);

  const std::string& source() const noexcept;

  /// The rendered string exactly as transformers' apply_chat_template(tokenize=False) gives it. Throws Error:
  /// invalid_argument when the template refuses the messages (raise_exception) or fails on them, resource beyond a
  /// limit.
  std::string render(const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options = {}) const;

  /// The same string, and what of it came from outside.
  RenderedPrompt render_marked(const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options = {}) const;

  /// Ids of the rendered prompt. Text that came from a message can never become a control token: its place in the
  /// output is known.
  std::vector<TokenId> encode(const std::vector<ChatMessage>& messages, const Tokenizer& tokenizer,
                              const ChatTemplateOptions& options = {}) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moebox
