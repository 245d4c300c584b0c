// The ways to a tokenizer, and the decoder of streams.
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include <fmt/core.h>

#include "base/error.h"
#include "io/checkpoint.h"
#include "tokenizer/loaders.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary.h"

namespace moebox {
namespace {

/// The file's bytes; nothing when there is none.
std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return std::nullopt;
  if (size > limits::kFileBytes)
    throw Error(ErrorKind::resource,
                fmt::format("the file has {} bytes; at most {} are accepted", size, limits::kFileBytes), path.string());
  std::ifstream file(path, std::ios::binary);
  std::string text(static_cast<std::size_t>(size), '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(size)))
    throw Error(ErrorKind::io, "cannot read the file", path.string());
  return text;
}

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::load(const Checkpoint& checkpoint) {
  if (checkpoint.format() == Checkpoint::Format::gguf) return load_gguf_tokenizer(checkpoint);
  const std::filesystem::path folder =
      std::filesystem::is_directory(checkpoint.path()) ? checkpoint.path() : checkpoint.path().parent_path();
  if (const auto json = read_file(folder / "tokenizer.json"))
    return from_json(*json, read_file(folder / "tokenizer_config.json").value_or(""));
  if (const auto proto = read_file(folder / "tokenizer.model")) return from_sentencepiece(*proto);
  throw Error(ErrorKind::not_found, "expected tokenizer.json or tokenizer.model", folder.string());
}

std::shared_ptr<const Tokenizer> Tokenizer::from_json(std::string_view tokenizer_json,
                                                      std::string_view tokenizer_config_json) {
  return load_json_tokenizer(tokenizer_json, tokenizer_config_json);
}

std::shared_ptr<const Tokenizer> Tokenizer::from_sentencepiece(std::string_view model_proto) {
  return load_sentencepiece_tokenizer(model_proto);
}

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool show_control)
    : tokenizer_(std::move(tokenizer)), show_control_(show_control) {}

std::string StreamDecoder::push(TokenId id) {
  std::string_view bytes = tokenizer_->token_bytes(id, show_control_);
  if (first_ && !bytes.empty()) {
    first_ = false;
    if (tokenizer_->drops_leading_space() && bytes[0] == ' ') bytes.remove_prefix(1);
  }
  pending_.append(bytes);
  return utf8::take_complete(pending_);
}

std::string StreamDecoder::finish() { return utf8::replace_invalid(std::exchange(pending_, {})); }

}  // namespace moebox
