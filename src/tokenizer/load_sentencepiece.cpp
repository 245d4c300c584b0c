// A tokenizer from a SentencePiece .model file: a protocol-buffer message, read field by field.
// Source: sentencepiece_model.proto (field numbers) and the protocol-buffer wire format.
#include <bit>
#include <cstring>

#include <fmt/core.h>

#include "base/error.h"
#include "tokenizer/loaders.h"
#include "tokenizer/sentencepiece_parts.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

const char* const kModelFile = "tokenizer.model";

[[noreturn]] void invalid_piece_model(const std::string& what) {
  throw Error(ErrorKind::invalid_file, what, kModelFile, "the file is damaged or not a SentencePiece model");
}

/// One field of a message: a number, or bytes.
struct Field {
  std::uint32_t number = 0;
  enum class Type { varint, fixed64, bytes, fixed32 } type = Type::varint;
  std::uint64_t value = 0;  // of numbers
  std::string_view bytes;
};

/// Walks through the fields of a message; never reads outside of it.
class MessageReader {
 public:
  explicit MessageReader(std::string_view message) : rest_(message) {}

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const std::uint64_t tag = varint();
    if (tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF) invalid_piece_model("a field has an invalid number");
    field.number = static_cast<std::uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0:
        field = {field.number, Field::Type::varint, varint(), {}};
        return true;
      case 1:
        field = {field.number, Field::Type::fixed64, little_endian(8), {}};
        return true;
      case 2: {
        const std::uint64_t size = varint();
        if (size > rest_.size())
          invalid_piece_model(
              fmt::format("field {} declares {} bytes where {} are left", field.number, size, rest_.size()));
        field = {field.number, Field::Type::bytes, 0, take(static_cast<std::size_t>(size))};
        return true;
      }
      case 5:
        field = {field.number, Field::Type::fixed32, little_endian(4), {}};
        return true;
      default:
        invalid_piece_model(fmt::format("field {} has an unknown wire type", field.number));
    }
  }

 private:
  std::string_view take(std::size_t size) {
    if (size > rest_.size()) invalid_piece_model("the file ends within a field");
    const std::string_view out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return out;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      if (shift == 63 && byte > 1) break;
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    invalid_piece_model("a number has too many bytes");
  }
  std::uint64_t little_endian(std::size_t size) {
    std::uint64_t value = 0;
    const std::string_view bytes = take(size);
    for (std::size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }

  std::string_view rest_;
};

std::string_view bytes_of(const Field& field) {
  if (field.type != Field::Type::bytes)
    invalid_piece_model(fmt::format("field {} is not a string or message", field.number));
  return field.bytes;
}
std::uint64_t number_of(const Field& field) {
  if (field.type != Field::Type::varint) invalid_piece_model(fmt::format("field {} is not a number", field.number));
  return field.value;
}
float float_of(const Field& field) {
  if (field.type != Field::Type::fixed32) invalid_piece_model(fmt::format("field {} is not a float", field.number));
  return std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
}

TokenKind kind_of(std::uint64_t type, std::size_t id) {
  switch (type) {
    case 1:
      return TokenKind::normal;
    case 2:
      return TokenKind::unknown;
    case 3:
      return TokenKind::control;
    case 4:
      return TokenKind::added;
    case 5:
      return TokenKind::unused;
    case 6:
      return TokenKind::byte;
    default:
      invalid_piece_model(fmt::format("piece {} has the unknown type {}", id, type));
  }
}

void read_piece(std::string_view message, SentencePieceParts& parts) {
  Vocabulary::Token token{.text = {}, .kind = TokenKind::normal};
  float score = 0;
  MessageReader reader(message);
  for (Field field; reader.next(field);) {
    if (field.number == 1) token.text = bytes_of(field);
    if (field.number == 2) score = float_of(field);
    if (field.number == 3) token.kind = kind_of(number_of(field), parts.tokens.size());
  }
  if (token.text.empty()) invalid_piece_model(fmt::format("piece {} is empty", parts.tokens.size()));
  if (parts.tokens.size() >= limits::kTokens)
    throw Error(ErrorKind::resource, fmt::format("more than {} pieces", limits::kTokens), kModelFile);
  parts.tokens.push_back(std::move(token));
  parts.scores.push_back(score);
}

/// The ids of TrainerSpec count from pieces of the file; -1 says that there is none.
struct TrainerIds {
  std::int64_t unknown = 0, bos = 1, eos = 2, padding = -1;
};

void read_trainer(std::string_view message, SentencePieceParts& parts, TrainerIds& ids) {
  MessageReader reader(message);
  for (Field field; reader.next(field);) {
    switch (field.number) {
      case 3:
        switch (number_of(field)) {
          case 1:
            parts.unigram = true;
            break;
          case 2:
            parts.unigram = false;
            break;
          default:
            throw Error(ErrorKind::unsupported, "only unigram and BPE models are supported", kModelFile);
        }
        break;
      case 24:
        parts.whitespace_as_suffix = number_of(field) != 0;
        break;
      case 40:
        ids.unknown = static_cast<std::int64_t>(number_of(field));
        break;
      case 41:
        ids.bos = static_cast<std::int64_t>(number_of(field));
        break;
      case 42:
        ids.eos = static_cast<std::int64_t>(number_of(field));
        break;
      case 43:
        ids.padding = static_cast<std::int64_t>(number_of(field));
        break;
      case 44:
        parts.unknown_surface = utf8::replace_invalid(bytes_of(field));
        break;
      default:
        break;
    }
  }
}

void read_normalizer(std::string_view message, SentencePieceParts& parts) {
  MessageReader reader(message);
  for (Field field; reader.next(field);) {
    switch (field.number) {
      case 2:
        parts.character_map = bytes_of(field);
        break;
      case 3:
        parts.add_dummy_prefix = number_of(field) != 0;
        break;
      case 4:
        parts.remove_extra_whitespaces = number_of(field) != 0;
        break;
      case 5:
        parts.escape_whitespaces = number_of(field) != 0;
        break;
      default:
        break;
    }
  }
}

}  // namespace

SentencePieceParts read_sentencepiece_model(std::string_view model_proto) {
  if (model_proto.size() > limits::kVocabularyBytes)
    throw Error(ErrorKind::resource, "the file is too large", kModelFile);
  SentencePieceParts parts;
  parts.unigram = true;  // the format's default
  TrainerIds ids;
  MessageReader reader(model_proto);
  for (Field field; reader.next(field);) {
    if (field.number == 1) read_piece(bytes_of(field), parts);
    if (field.number == 2) read_trainer(bytes_of(field), parts, ids);
    if (field.number == 3) read_normalizer(bytes_of(field), parts);
  }
  if (parts.tokens.empty()) invalid_piece_model("the file has no pieces");
  const auto id_in = [&](std::int64_t id, TokenKind kind) -> std::optional<TokenId> {
    if (id < 0 || static_cast<std::size_t>(id) >= parts.tokens.size() ||
        parts.tokens[static_cast<std::size_t>(id)].kind != kind)
      return std::nullopt;
    return static_cast<TokenId>(id);
  };
  parts.special.unknown = id_in(ids.unknown, TokenKind::unknown);
  parts.special.bos = id_in(ids.bos, TokenKind::control);
  parts.special.eos = id_in(ids.eos, TokenKind::control);
  parts.special.padding = id_in(ids.padding, TokenKind::control);
  if (parts.special.bos)
    parts.before.push_back(*parts.special.bos);  // as Llama's tokenizer does; the library itself adds nothing
  return parts;
}

std::shared_ptr<const Tokenizer> load_sentencepiece_tokenizer(std::string_view model_proto, std::vector<TokenId> ends) {
  SentencePieceParts parts = read_sentencepiece_model(model_proto);
  parts.special.end_of_generation = std::move(ends);
  return make_sentencepiece_tokenizer(std::move(parts), kModelFile);
}

}  // namespace moebox
