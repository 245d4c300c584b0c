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
#include "tokenizer/tokenizer_json.h"
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

/// The ids of "eos_token_id", a number or a list; nothing when the key is missing or null.
std::optional<std::vector<TokenId>> ends_in(const nlohmann::json& config, const std::string& where) {
  const auto found = config.is_object() ? config.find("eos_token_id") : config.end();
  if (found == config.end() || found->is_null()) return std::nullopt;
  std::vector<TokenId> ends;
  for (const nlohmann::json& id : found->is_array() ? *found : nlohmann::json::array({*found})) {
    if (id == -1) continue;  // some authors' "none"
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= limits::kTokens)
      throw Error(ErrorKind::invalid_file, "expected the id of a token, or a list of them, as 'eos_token_id'", where);
    ends.push_back(id.get<TokenId>());
  }
  return ends;
}

/// What ends an answer: by the generation configuration, or by the model's configuration where that says nothing.
std::vector<TokenId> read_ends(const std::filesystem::path& generation_config, const nlohmann::json& config) {
  if (const auto text = read_file(generation_config)) {
    if (auto ends = ends_in(read_json(*text, "generation_config.json"), generation_config.string()))
      return std::move(*ends);
  }
  return ends_in(config, "config.json").value_or(std::vector<TokenId>{});
}

std::shared_ptr<const Tokenizer> load_folder(const std::filesystem::path& folder, std::vector<TokenId> ends) {
  if (const auto json = read_file(folder / "tokenizer.json"))
    return Tokenizer::from_json(*json, read_file(folder / "tokenizer_config.json").value_or(""), std::move(ends));
  if (const auto proto = read_file(folder / "tokenizer.model"))
    return Tokenizer::from_sentencepiece(*proto, std::move(ends));
  throw Error(ErrorKind::not_found, "expected tokenizer.json or tokenizer.model", folder.string());
}

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::load(const Checkpoint& checkpoint) {
  if (checkpoint.format() == Checkpoint::Format::gguf) return load_gguf_tokenizer(checkpoint);
  const std::filesystem::path folder =
      std::filesystem::is_directory(checkpoint.path()) ? checkpoint.path() : checkpoint.path().parent_path();
  return load_folder(folder, read_ends(folder / "generation_config.json", checkpoint.config()));
}

std::shared_ptr<const Tokenizer> Tokenizer::load(const std::filesystem::path& path) {
  if (path.filename() == "tokenizer.json") return load_folder(path.parent_path(), {});
  if (std::filesystem::is_directory(path) && !std::filesystem::exists(path / "config.json"))
    return load_folder(path, {});
  return load(Checkpoint::open(path));
}

std::shared_ptr<const Tokenizer> Tokenizer::from_json(std::string_view tokenizer_json,
                                                      std::string_view tokenizer_config_json,
                                                      std::vector<TokenId> ends) {
  return load_json_tokenizer(tokenizer_json, tokenizer_config_json, std::move(ends));
}

std::shared_ptr<const Tokenizer> Tokenizer::from_sentencepiece(std::string_view model_proto,
                                                               std::vector<TokenId> ends) {
  return load_sentencepiece_tokenizer(model_proto, std::move(ends));
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
