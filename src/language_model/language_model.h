// Text in, text out: a checkpoint's tokenizer, chat template and engine put together. The server, the command and the
// bindings use it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "chat/chat_template.h"
#include "chat/reasoning.h"
#include "io/checkpoint.h"
#include "runtime/engine.h"
#include "tokenizer/tokenizer.h"

namespace moebox {

struct LanguageModelOptions {
  EngineOptions engine;
  ModelOptions model;
  std::string chat_template;          // replaces the file's own when not empty
  std::filesystem::path draft_model;  // of Speculation::draft
};

struct TextRequest {
  GenerationRequest generation;           // its stop_tokens are set from the model unless ignore_end
  std::vector<std::string> stop_strings;  // end the text; not part of it
  bool ignore_end = false;                // go on past the end-of-generation tokens
  bool show_control = false;
};

/// One token's worth of news. `text` may be empty: a character or a possible stop string is not complete yet.
struct TextPiece {
  std::string text;
  GeneratedToken token;
};

struct TextFinish {
  FinishReason reason = FinishReason::stop;
  std::string text;          // the rest that was held back
  std::string matched_stop;  // the stop string that ended it, if one did
  GenerationStats stats;
  std::optional<Error> error;
};

/// Called on the engine's thread: be quick and never block.
class TextListener {
 public:
  virtual ~TextListener() = default;
  virtual void on_piece(const TextPiece& piece) = 0;
  virtual void on_finish(const TextFinish& finish) = 0;
};

class LanguageModel {
 public:
  /// Opens, checks, packs. Throws Error.
  static std::shared_ptr<LanguageModel> load(const std::filesystem::path& path,
                                             const LanguageModelOptions& options = {});

  const Checkpoint& checkpoint() const noexcept { return checkpoint_; }
  /// Throws Error(unsupported) when the files carry no tokenizer, or no template.
  const std::shared_ptr<const Tokenizer>& tokenizer() const;
  const ChatTemplate& chat_template() const;
  bool has_tokenizer() const noexcept { return tokenizer_ != nullptr; }
  bool has_chat_template() const noexcept { return template_.has_value(); }
  Engine& engine() noexcept { return *engine_; }

  /// Prompt ids of a conversation, ready for TextRequest.
  std::vector<TokenId> encode_chat(const std::vector<ChatMessage>& messages,
                                   const ChatTemplateOptions& options = {}) const;
  /// How the answer to a conversation's prompt begins, for a model whose template tells thinking from answers.
  Reasoning reasoning(std::span<const TokenId> prompt) const;
  RequestId generate(TextRequest request, std::shared_ptr<TextListener> listener);

 private:
  explicit LanguageModel(Checkpoint checkpoint) : checkpoint_(std::move(checkpoint)) {}

  Checkpoint checkpoint_;
  std::optional<Checkpoint> draft_checkpoint_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<ChatTemplate> template_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace moebox
