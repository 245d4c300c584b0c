#include "io/gguf.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include <fmt/core.h>

#include "base/checked.h"
#include "base/error.h"
#include "io/byte_reader.h"
#include "io/quote.h"
#include "io/tensor_layout.h"

namespace moebox {
namespace {

enum class ValueType : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

constexpr std::size_t max_key_bytes = 65'535;  // the specification's
constexpr std::size_t max_tensor_name_bytes = 1'024;
constexpr std::size_t max_string_bytes = std::size_t{1} << 26;
// Elements of all arrays of a file together: they may be widened to 8 bytes each. The largest vocabularies have 300,000
// entries.
constexpr std::size_t max_array_elements = std::size_t{1} << 25;
constexpr std::size_t max_metadata_entries = std::size_t{1} << 20;
constexpr std::uint64_t max_alignment = 65'536;

constexpr const char* damaged = "the file is damaged or hostile: fetch it again from a source you trust";

[[noreturn]] void throw_invalid(std::string message, std::string where) {
  throw Error(ErrorKind::invalid_file, std::move(message), std::move(where), damaged);
}

/// Bytes that an element of an array takes at least; nothing for what cannot be an element.
std::size_t min_element_bytes(ValueType type) noexcept {
  switch (type) {
    case ValueType::u8:
    case ValueType::i8:
    case ValueType::boolean:
      return 1;
    case ValueType::u16:
    case ValueType::i16:
      return 2;
    case ValueType::u32:
    case ValueType::i32:
    case ValueType::f32:
      return 4;
    case ValueType::u64:
    case ValueType::i64:
    case ValueType::f64:
    case ValueType::string:
      return 8;
    case ValueType::array:
      return 0;
  }
  return 0;
}

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& where)
      : bytes_(bytes), where_(where), reader_(bytes, where_) {}

  GgufFile parse() {
    check_start();
    const std::size_t n_tensors = read_count("the number of tensors", 8 + 4 + 4 + 8, max_tensors_per_file);
    const std::size_t n_pairs = read_count("the number of metadata entries", 8 + 4 + 1, max_metadata_entries);
    for (std::size_t i = 0; i < n_pairs; ++i) read_pair();
    read_tensors(n_tensors);
    return std::move(file_);
  }

 private:
  void check_start() {
    if (!is_gguf(bytes_)) {
      const std::size_t n_bytes = std::min<std::size_t>(bytes_.size(), 4);
      const std::string_view found(reinterpret_cast<const char*>(bytes_.data()), n_bytes);
      throw Error(ErrorKind::invalid_file, "a GGUF file starts with 'GGUF', found " + quote(found), where_,
                  "check that this is the model and not a web page, a pointer to a file or another format");
    }
    reader_.take(4, "the magic");
    const auto version = reader_.number<std::uint32_t>("the version");
    if (version != 0 && (version & 0xffff) == 0) {
      throw Error(ErrorKind::unsupported, "the file is big-endian; moebox reads little-endian GGUF", where_,
                  "convert the model without a big-endian option");
    }
    if (version != 2 && version != 3) {
      throw Error(ErrorKind::unsupported, fmt::format("expected GGUF version 2 or 3, found {}", version), where_,
                  "convert the model again with a current converter");
    }
  }

  /// A count of things of at least `min_bytes` each, which therefore cannot be more than the rest of the file holds.
  std::size_t read_count(std::string_view what, std::size_t min_bytes, std::size_t limit) {
    const auto count = reader_.number<std::uint64_t>(what);
    if (count > limit) throw_invalid(fmt::format("{} must be at most {}, found {}", what, limit, count), where_);
    if (count > reader_.remaining() / min_bytes) {
      throw_invalid(
          fmt::format("{} is {}, more than the {} bytes that follow can hold", what, count, reader_.remaining()),
          where_);
    }
    return static_cast<std::size_t>(count);
  }

  void read_pair() {
    const std::string_view key = reader_.string("a metadata key", max_key_bytes);
    if (key.empty() || !is_utf8(key)) {
      throw_invalid("a metadata key must be UTF-8 and not empty, found " + quote(key), where_);
    }
    entry_ = "metadata " + quote(key);
    const auto [place, is_new] = file_.metadata.emplace(key, false);
    if (!is_new) throw_invalid("the key occurs twice", entry_place());
    const std::size_t start = reader_.position();
    place->second = read_value(reader_.number<std::uint32_t>("a metadata value's type"));
    file_.pairs.push_back({key, bytes_.subspan(start, reader_.position() - start)});
  }

  std::string entry_place() const { return where_ + ": " + entry_; }

  MetadataValue read_value(std::uint32_t type) {
    switch (static_cast<ValueType>(type)) {
      case ValueType::u8:
        return std::uint64_t{reader_.number<std::uint8_t>(entry_)};
      case ValueType::u16:
        return std::uint64_t{reader_.number<std::uint16_t>(entry_)};
      case ValueType::u32:
        return std::uint64_t{reader_.number<std::uint32_t>(entry_)};
      case ValueType::u64:
        return reader_.number<std::uint64_t>(entry_);
      case ValueType::i8:
        return std::int64_t{reader_.number<std::int8_t>(entry_)};
      case ValueType::i16:
        return std::int64_t{reader_.number<std::int16_t>(entry_)};
      case ValueType::i32:
        return std::int64_t{reader_.number<std::int32_t>(entry_)};
      case ValueType::i64:
        return reader_.number<std::int64_t>(entry_);
      case ValueType::f32:
        return double{reader_.number<float>(entry_)};
      case ValueType::f64:
        return reader_.number<double>(entry_);
      case ValueType::boolean:
        return read_boolean();
      case ValueType::string:
        return std::string(reader_.string(entry_, max_string_bytes));
      case ValueType::array:
        return read_array();
    }
    throw_invalid(fmt::format("there is no value type {}", type), entry_place());
  }

  bool read_boolean() {
    const auto value = reader_.number<std::uint8_t>(entry_);
    if (value > 1) throw_invalid(fmt::format("a boolean must be 0 or 1, found {}", value), entry_place());
    return value == 1;
  }

  MetadataValue read_array() {
    const auto number = reader_.number<std::uint32_t>(entry_);
    const auto type = static_cast<ValueType>(number);
    if (type == ValueType::array) {
      throw Error(ErrorKind::unsupported, "an array of arrays; moebox reads arrays of numbers, booleans and strings",
                  entry_place());
    }
    const std::size_t element_bytes = min_element_bytes(type);
    if (element_bytes == 0) throw_invalid(fmt::format("there is no element type {}", number), entry_place());
    const std::size_t count =
        read_count("the array's length in " + entry_, element_bytes, max_array_elements - n_elements_);
    n_elements_ += count;
    switch (type) {
      case ValueType::u8:
        return read_integers<std::uint8_t>(count);
      case ValueType::i8:
        return read_integers<std::int8_t>(count);
      case ValueType::u16:
        return read_integers<std::uint16_t>(count);
      case ValueType::i16:
        return read_integers<std::int16_t>(count);
      case ValueType::u32:
        return read_integers<std::uint32_t>(count);
      case ValueType::i32:
        return read_integers<std::int32_t>(count);
      case ValueType::u64:
        return read_integers<std::uint64_t>(count);
      case ValueType::i64:
        return read_integers<std::int64_t>(count);
      case ValueType::f32:
        return read_numbers<float>(count);
      case ValueType::f64:
        return read_numbers<double>(count);
      case ValueType::boolean:
        return read_booleans(count);
      default:
        return read_strings(count);
    }
  }

  template <class Stored>
  std::vector<std::int64_t> read_integers(std::size_t count) {
    const std::string place = entry_place();
    std::vector<std::int64_t> values;
    values.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      values.push_back(checked_cast<std::int64_t>(reader_.number<Stored>(entry_), place));
    }
    return values;
  }

  template <class Stored>
  std::vector<double> read_numbers(std::size_t count) {
    std::vector<double> values;
    values.reserve(count);
    for (std::size_t i = 0; i < count; ++i) values.push_back(double{reader_.number<Stored>(entry_)});
    return values;
  }

  std::vector<bool> read_booleans(std::size_t count) {
    std::vector<bool> values;
    values.reserve(count);
    for (std::size_t i = 0; i < count; ++i) values.push_back(read_boolean());
    return values;
  }

  std::vector<std::string_view> read_strings(std::size_t count) {
    std::vector<std::string_view> values;
    values.reserve(count);
    for (std::size_t i = 0; i < count; ++i) values.push_back(reader_.string(entry_, max_string_bytes));
    return values;
  }

  std::size_t alignment() const {
    const auto found = file_.metadata.find("general.alignment");
    if (found == file_.metadata.end()) return 32;
    const auto* value = std::get_if<std::uint64_t>(&found->second);
    if (value == nullptr || !std::has_single_bit(*value) || *value > max_alignment) {
      throw_invalid(fmt::format("must be a power of two up to {}, found {}", max_alignment,
                                value == nullptr ? std::string(type_text(found->second)) : std::to_string(*value)),
                    where_ + ": metadata 'general.alignment'");
    }
    return static_cast<std::size_t>(*value);
  }

  void read_tensors(std::size_t n_tensors) {
    if (n_tensors == 0) return;
    const std::size_t alignment_bytes = alignment();
    std::vector<TensorExtent> extents;
    extents.reserve(n_tensors);
    file_.tensors.reserve(n_tensors);
    for (std::size_t i = 0; i < n_tensors; ++i) extents.push_back(read_tensor(i, alignment_bytes));
    check_unique_names(file_.tensors, where_);

    const std::size_t data_start = checked_align(reader_.position(), alignment_bytes, where_);
    if (data_start > bytes_.size()) {
      throw_invalid(
          fmt::format("the tensors' data must start at byte {}, but the file has {}", data_start, bytes_.size()),
          where_);
    }
    const auto data = bytes_.subspan(data_start);
    check_layout(extents, file_.tensors, data.size(), false, where_);
    for (const TensorExtent& extent : extents) {
      file_.tensors[extent.tensor].data = data.subspan(extent.begin, extent.end - extent.begin);
    }
  }

  TensorExtent read_tensor(std::size_t index, std::size_t alignment_bytes) {
    TensorView tensor;
    tensor.name = reader_.string("a tensor's name", max_tensor_name_bytes);
    const std::string what = "tensor " + quote(tensor.name);
    const std::string place = where_ + ": " + what;
    if (tensor.name.empty() || !is_utf8(tensor.name))
      throw_invalid("a tensor's name must be UTF-8 and not empty", place);
    const auto rank = reader_.number<std::uint32_t>(what);
    if (rank > TensorView::max_rank) {
      throw_invalid(fmt::format("at most {} dimensions are possible, found {}", TensorView::max_rank, rank), place);
    }
    tensor.rank = static_cast<int>(rank);
    for (std::size_t i = rank; i-- > 0;) {  // the file names the fastest dimension first
      tensor.shape[i] = checked_cast<std::int64_t>(reader_.number<std::uint64_t>(what), place);
    }
    const auto type = reader_.number<std::uint32_t>(what);
    const auto dtype = dtype_from_ggml(type);
    if (!dtype) {
      throw Error(ErrorKind::unsupported, fmt::format("tensor type {} is not one that moebox knows", type), place,
                  "take the model in another quantisation, such as Q4_K_M or Q8_0");
    }
    tensor.dtype = *dtype;
    const auto offset = checked_cast<std::size_t>(reader_.number<std::uint64_t>(what), place);
    if (offset % alignment_bytes != 0) {
      throw_invalid(fmt::format("the offset must be a multiple of {}, found {}", alignment_bytes, offset), place);
    }
    const std::size_t end = checked_add(offset, tensor_bytes(tensor, where_), place);
    file_.tensors.push_back(std::move(tensor));
    return {index, offset, end};
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  ByteReader reader_;
  std::string entry_;  // the metadata entry being read, for errors
  std::size_t n_elements_ = 0;
  GgufFile file_;
};

}  // namespace

bool is_gguf(std::span<const std::byte> bytes) noexcept {
  return bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
}

GgufFile parse_gguf(std::span<const std::byte> bytes, const std::string& where) { return Parser(bytes, where).parse(); }

}  // namespace moebox
