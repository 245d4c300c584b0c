#include "data/shard.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

#include <fmt/core.h>

#include "base/checked.h"
#include "base/error.h"
#include "data/digest.h"
#include "io/output_file.h"
#include "io/quote.h"
#include "io/safetensors.h"
#include "io/safetensors_writer.h"
#include "io/tensor_layout.h"

namespace moebox::data {
namespace {

constexpr std::string_view make_anew = "build the data again, or fetch the file again";

[[noreturn]] void throw_damaged(std::string message, const std::string& where) {
  throw Error(ErrorKind::invalid_file, std::move(message), where, std::string(make_anew));
}

int token_bytes_for(int vocabulary_size) noexcept {
  return vocabulary_size <= std::numeric_limits<std::uint16_t>::max() + 1 ? 2 : 4;
}

template <class T>
T load(std::span<const std::byte> bytes, std::int64_t i) noexcept {
  T value;
  std::memcpy(&value, bytes.data() + static_cast<std::size_t>(i) * sizeof value, sizeof value);
  return value;
}

std::string metadata_value(const IntegerFile& file, const std::string& key, const std::string& where) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end())
    throw Error(ErrorKind::invalid_file, "the metadata lack " + quote(key), where, "is this a shard of moebox data?");
  return found->second;
}

int whole_number(const std::string& text, const std::string& key, const std::string& where) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1)
    throw_damaged(fmt::format("expected a number above 0 as {}, found {}", key, quote(text)), where);
  return value;
}

ShardLabel read_label(const IntegerFile& file, const std::string& where) {
  if (const std::string format = metadata_value(file, "format", where); format != shard_format)
    throw Error(ErrorKind::invalid_file, fmt::format("expected the format {}, found {}", shard_format, quote(format)),
                where, "is this a shard of moebox data?");
  const int version = whole_number(metadata_value(file, "format_version", where), "format_version", where);
  if (version != shard_format_version)
    throw Error(ErrorKind::unsupported,
                fmt::format("this moebox reads shards of version {}, found version {}", shard_format_version, version),
                where, std::string(make_anew));
  ShardLabel label;
  label.tokenizer = metadata_value(file, "tokenizer", where);
  label.vocabulary_size = whole_number(metadata_value(file, "vocabulary_size", where), "vocabulary_size", where);
  label.domain = metadata_value(file, "domain", where);
  const std::string level = metadata_value(file, "level", where);
  if (!is_hex_digest(label.tokenizer)) throw_damaged("the tokenizer's digest is none", where);
  if (!is_domain_name(label.domain)) throw_damaged(quote(label.domain) + " is no name of a domain", where);
  const auto known = level_from_name(level);
  if (!known) throw_damaged("expected general, domain or synthetic as level, found " + quote(level), where);
  label.level = *known;
  return label;
}

const IntegerTensor& find_tensor(const IntegerFile& file, std::string_view name, const std::string& where) {
  for (const IntegerTensor& tensor : file.tensors) {
    if (tensor.name != name) continue;
    if (tensor.shape.size() != 1 || tensor.shape[0] < 1)
      throw_damaged(fmt::format("{} must have one dimension and not be empty", name), where);
    return tensor;
  }
  throw Error(ErrorKind::invalid_file, fmt::format("there is no tensor {}", quote(name)), where,
              "is this a shard of moebox data?");
}

/// The first place of a token that is not below `limit`, or -1.
template <class T>
std::int64_t find_above(std::span<const std::byte> tokens, std::int64_t n, std::uint32_t limit) noexcept {
  constexpr std::int64_t block = 4096;
  for (std::int64_t begin = 0; begin < n; begin += block) {
    const std::int64_t end = std::min(n, begin + block);
    std::uint32_t most = 0;
    for (std::int64_t i = begin; i < end; ++i) most = std::max<std::uint32_t>(most, load<T>(tokens, i));
    for (std::int64_t i = begin; most >= limit && i < end; ++i)
      if (load<T>(tokens, i) >= limit) return i;
  }
  return -1;
}

}  // namespace

std::string_view name(Level level) noexcept {
  switch (level) {
    case Level::general:
      return "general";
    case Level::domain:
      return "domain";
    case Level::synthetic:
      return "synthetic";
  }
  return "";
}

std::optional<Level> level_from_name(std::string_view text) noexcept {
  for (const Level level : {Level::general, Level::domain, Level::synthetic})
    if (name(level) == text) return level;
  return std::nullopt;
}

bool is_domain_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

Shard::Shard(const std::filesystem::path& path, std::string_view file_digest) : file_(path) {
  read(file_.bytes(), path.string(), file_digest);
}

Shard::Shard(std::span<const std::byte> bytes, const std::string& where, std::string_view file_digest) {
  read(bytes, where, file_digest);
}

void Shard::read(std::span<const std::byte> bytes, const std::string& where, std::string_view file_digest) {
  if (!file_digest.empty()) {
    if (const std::string found = hex(digest_of(bytes)); found != file_digest)
      throw_damaged(fmt::format("the file's checksum is {}..., the manifest says {}...", found.substr(0, 16),
                                file_digest.substr(0, 16)),
                    where);
  }
  const IntegerFile file = parse_integer_safetensors(bytes, where);
  label_ = read_label(file, where);
  const std::string checksum = metadata_value(file, "checksum", where);
  // The digest of the whole file says the same of the data.
  if (file_digest.empty() && hex(digest_of(file.data)) != checksum)
    throw_damaged("the data do not have the checksum that the metadata say", where);

  const IntegerTensor& tokens = find_tensor(file, "tokens", where);
  const IntegerTensor& starts = find_tensor(file, "document_starts", where);
  if (tokens.type != IntegerTensor::Type::u16 && tokens.type != IntegerTensor::Type::u32)
    throw_damaged("tokens must be U16 or U32", where);
  if (starts.type != IntegerTensor::Type::i64) throw_damaged("document_starts must be I64", where);
  token_bytes_ = tokens.element_bytes();
  n_tokens_ = tokens.shape[0];
  n_documents_ = starts.shape[0];
  tokens_ = tokens.data;
  starts_ = starts.data;
  const bool has_mask = std::ranges::any_of(file.tensors, [](const auto& one) { return one.name == "loss_mask"; });
  if (has_mask) {
    const IntegerTensor& mask = find_tensor(file, "loss_mask", where);
    if (mask.type != IntegerTensor::Type::u8 || mask.shape[0] != n_tokens_)
      throw_damaged("loss_mask must be U8 and as long as tokens", where);
    mask_ = mask.data;
  }
  if (file.tensors.size() != (has_mask ? 3u : 2u)) throw_damaged("there are tensors that a shard does not have", where);
  check_content(where);
}

void Shard::check_content(const std::string& where) const {
  std::int64_t before = -1;
  for (std::int64_t i = 0; i < n_documents_; ++i) {
    const std::int64_t place = start(i);
    if ((i == 0 && place != 0) || place <= before || place >= n_tokens_)
      throw_damaged(fmt::format("document {} begins at {}: expected places that rise from 0 and lie below {}", i, place,
                                n_tokens_),
                    where);
    before = place;
  }
  const auto limit = static_cast<std::uint32_t>(label_.vocabulary_size);
  const std::int64_t outside = token_bytes_ == 2 ? find_above<std::uint16_t>(tokens_, n_tokens_, limit)
                                                 : find_above<std::uint32_t>(tokens_, n_tokens_, limit);
  if (outside >= 0)
    throw_damaged(fmt::format("token {} is outside the vocabulary of {}", outside, label_.vocabulary_size), where);
  if (!has_mask()) return;
  bool learns = false;
  for (const std::byte value : mask_) {
    if (value > std::byte{1}) throw_damaged("loss_mask has a value other than 0 and 1", where);
    learns |= value == std::byte{1};
  }
  if (!learns) throw_damaged("loss_mask is empty: no token would be learnt", where);
}

std::int64_t Shard::start(std::int64_t i) const noexcept { return load<std::int64_t>(starts_, i); }

Shard::Range Shard::document(std::int64_t i) const noexcept {
  return {start(i), i + 1 < n_documents_ ? start(i + 1) : n_tokens_};
}

void Shard::copy_tokens(std::int64_t begin, std::span<TokenId> ids) const noexcept {
  if (token_bytes_ == 4) {
    std::memcpy(ids.data(), tokens_.data() + static_cast<std::size_t>(begin) * 4, ids.size() * 4);
    return;
  }
  for (std::size_t i = 0; i < ids.size(); ++i)
    ids[i] = load<std::uint16_t>(tokens_, begin + static_cast<std::int64_t>(i));
}

void Shard::copy_mask(std::int64_t begin, std::span<std::uint8_t> mask) const noexcept {
  if (has_mask()) {
    std::memcpy(mask.data(), mask_.data() + begin, mask.size());
  } else {
    std::ranges::fill(mask, std::uint8_t{1});
  }
}

void ShardWriter::add(std::span<const TokenId> ids, std::span<const std::uint8_t> mask) {
  if (ids.empty() || (!mask.empty() && mask.size() != ids.size()))
    throw Error(ErrorKind::internal, "a document without tokens, or with a mask of another length");
  const auto [least, most] = std::ranges::minmax(ids);
  if (least < 0 || most >= label_.vocabulary_size)
    throw Error(ErrorKind::internal, fmt::format("token {} is outside the vocabulary of {}", least < 0 ? least : most,
                                                 label_.vocabulary_size));
  starts_.push_back(n_tokens_);
  if (mask_.empty() && !mask.empty()) mask_.assign(static_cast<std::size_t>(n_tokens_), 1);
  if (!mask.empty()) {
    mask_.insert(mask_.end(), mask.begin(), mask.end());
  } else if (!mask_.empty()) {
    mask_.insert(mask_.end(), ids.size(), 1);
  }
  n_tokens_ += static_cast<std::int64_t>(ids.size());
  const std::size_t at = tokens_.size();
  if (token_bytes_for(label_.vocabulary_size) == 4) {
    tokens_.resize(at + ids.size() * 4);
    std::memcpy(tokens_.data() + at, ids.data(), ids.size() * 4);
  } else {
    tokens_.resize(at + ids.size() * 2);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto id = static_cast<std::uint16_t>(ids[i]);
      std::memcpy(tokens_.data() + at + 2 * i, &id, sizeof id);
    }
  }
}

std::array<std::span<const std::byte>, 4> ShardWriter::parts(std::string& header) const {
  const auto starts = std::as_bytes(std::span(starts_));
  const auto mask = std::as_bytes(std::span(mask_));
  Hasher data;
  data.add(starts).add(tokens_).add(mask);
  const bool wide = token_bytes_for(label_.vocabulary_size) == 4;
  std::vector<SafetensorsEntry> entries = {
      {"document_starts", "I64", {static_cast<std::int64_t>(starts_.size())}, starts.size()},
      {"tokens", wide ? "U32" : "U16", {n_tokens_}, tokens_.size()}};
  if (!mask_.empty()) entries.push_back({"loss_mask", "U8", {n_tokens_}, mask.size()});
  header = safetensors_header(entries, {{"format", std::string(shard_format)},
                                        {"format_version", std::to_string(shard_format_version)},
                                        {"tokenizer", label_.tokenizer},
                                        {"vocabulary_size", std::to_string(label_.vocabulary_size)},
                                        {"domain", label_.domain},
                                        {"level", std::string(name(label_.level))},
                                        {"checksum", hex(data.finish())}});
  return {std::as_bytes(std::span(header)), starts, tokens_, mask};
}

void ShardWriter::clear() noexcept {
  n_tokens_ = 0;
  tokens_.clear();
  starts_.clear();
  mask_.clear();
}

std::string ShardWriter::bytes() {
  std::string header, file;
  for (const auto part : parts(header)) file.append(reinterpret_cast<const char*>(part.data()), part.size());
  clear();
  return file;
}

ShardRecord ShardWriter::write(const std::filesystem::path& folder, const std::string& file) {
  std::string header;
  const auto all = parts(header);
  Hasher whole;
  OutputFile out(folder / file, false);
  out.reserve(all[0].size() + all[1].size() + all[2].size() + all[3].size());
  for (const auto part : all) {
    whole.add(part);
    out.write(part);
  }
  ShardRecord record{.file = file,
                     .n_documents = static_cast<std::int64_t>(starts_.size()),
                     .n_tokens = n_tokens_,
                     .n_bytes = static_cast<std::int64_t>(out.written_bytes()),
                     .digest = hex(whole.finish())};
  out.commit();
  clear();
  return record;
}

}  // namespace moebox::data
