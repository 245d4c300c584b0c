// Text <-> token ids. Knows vocabularies and merges; knows nothing of messages or templates (that is chat's).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moebox {

class Checkpoint;

using TokenId = std::int32_t;

enum class TokenKind : std::uint8_t {
  normal,   // part of text
  byte,     // a byte of the byte fallback
  control,  // a special token: never made from a user's text
  added,    // an added token that is plain text
  unused,
  unknown,  // stands for text that the vocabulary cannot spell; its own spelling in a text is plain text
};

/// A piece of text, and whether special tokens written in it ("<|im_end|>") become control tokens. A user's text is
/// never trusted.
struct TextSpan {
  std::string_view text;
  bool trusted = false;
};

/// Immutable after loading, and so safe to use from many threads at once.
class Tokenizer {
 public:
  /// From a GGUF's metadata, or from tokenizer.json / tokenizer.model of a Hugging Face folder, with the ids that end
  /// an answer from its generation_config.json (or else its config.json). Throws Error; an Error(not_found) when the
  /// files carry no tokenizer.
  static std::shared_ptr<const Tokenizer> load(const Checkpoint& checkpoint);
  /// Of a GGUF file, a model's folder, or a folder of a tokenizer alone or its tokenizer.json. Throws as the above
  /// does.
  static std::shared_ptr<const Tokenizer> load(const std::filesystem::path& path);
  /// From the text of a tokenizer.json (and of tokenizer_config.json, may be empty). `ends` are further ids that end an
  /// answer; they must be in the vocabulary.
  static std::shared_ptr<const Tokenizer> from_json(std::string_view tokenizer_json,
                                                    std::string_view tokenizer_config_json = {},
                                                    std::vector<TokenId> ends = {});
  /// From a SentencePiece model file's bytes.
  static std::shared_ptr<const Tokenizer> from_sentencepiece(std::string_view model_proto,
                                                             std::vector<TokenId> ends = {});

  virtual ~Tokenizer() = default;

  virtual int vocab_size() const noexcept = 0;
  /// The token's text as stored for display (control tokens by their name); empty for an id outside the vocabulary.
  virtual std::string_view token_text(TokenId id) const noexcept = 0;
  virtual TokenKind token_kind(TokenId id) const noexcept = 0;
  /// The id of a token by its stored text, control tokens included.
  virtual std::optional<TokenId> find(std::string_view text) const noexcept = 0;

  /// Ids of the spans, encoded as one text. A control token is made only where every byte of its spelling lies in
  /// trusted spans; elsewhere the spelling is plain text, encoded as if the tokenizer had no such token. Between
  /// control tokens the ids are those of the concatenated text: where a span ends makes no difference. Added tokens
  /// that are plain text (TokenKind::added) are found everywhere. Each span counts as UTF-8 by itself, every maximal
  /// invalid piece as one U+FFFD. `add_special` adds what the model's tokenizer adds by itself (BOS, EOS). Throws
  /// Error(invalid_argument) above 256 MiB of text, Error(resource) when a regular expression of the tokenizer exceeds
  /// its time.
  virtual std::vector<TokenId> encode(std::span<const TextSpan> spans, bool add_special) const = 0;
  std::vector<TokenId> encode(std::string_view text, bool add_special = false, bool trusted = false) const {
    const TextSpan span{text, trusted};
    return encode(std::span(&span, 1), add_special);
  }

  /// The raw bytes that a token stands for when it follows other tokens; control tokens give nothing unless
  /// `show_control`.
  virtual std::string_view token_bytes(TokenId id, bool show_control = false) const noexcept = 0;
  /// True when the text of a sequence of tokens loses the space it begins with (SentencePiece's rule).
  virtual bool drops_leading_space() const noexcept = 0;
  /// All bytes of the ids, every maximal invalid piece of UTF-8 replaced by one U+FFFD. Ids outside the vocabulary give
  /// nothing.
  virtual std::string decode(std::span<const TokenId> ids, bool show_control = false) const = 0;

  /// Special ids, where the model has them.
  struct Special {
    std::optional<TokenId> bos, eos, unknown, padding;
    std::vector<TokenId> end_of_generation;  // eos, eot, eom ...: any of them ends an answer
    std::optional<TokenId> fim_prefix, fim_suffix, fim_middle;
  };
  virtual const Special& special() const noexcept = 0;
};

/// Turns a stream of tokens into a stream of text that never ends within a character.
class StreamDecoder {
 public:
  explicit StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool show_control = false);
  /// The complete characters that this token makes available (may be empty).
  std::string push(TokenId id);
  /// What is left at the end, an unfinished character as U+FFFD.
  std::string finish();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool show_control_;
  bool first_ = true;
  std::string pending_;  // bytes of a character that is not complete yet
};

}  // namespace moebox
