#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/error.h"
#include "io/byte_reader.h"
#include "io/quote.h"
#include "io/tensor_layout.h"

namespace moebox {
namespace {

constexpr std::size_t max_header_bytes = 100'000'000;  // the limit of the format's own implementation
constexpr std::size_t max_name_bytes = 1'024;

std::optional<DType> dtype_from_safetensors(std::string_view name) noexcept {
  if (name == "F32") return DType::f32;
  if (name == "F16") return DType::f16;
  if (name == "BF16") return DType::bf16;
  if (name == "F8_E4M3") return DType::f8_e4m3;
  return std::nullopt;
}

std::optional<IntegerTensor::Type> integer_type(std::string_view name) noexcept {
  using enum IntegerTensor::Type;
  if (name == "U8") return u8;
  if (name == "U16") return u16;
  if (name == "U32") return u32;
  if (name == "I64") return i64;
  return std::nullopt;
}

/// What the header says of one tensor.
struct Entry {
  TensorView view;  // without data
  IntegerTensor::Type integer{};
  std::array<std::size_t, 2> offsets{};
};

/// What the tensors of a file may be: a model's weights, or whole numbers.
enum class Content { weights, integers };

/// Reads the header as it is parsed, without building a document: every event that the format does not allow is an
/// error.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(Content content, const std::string& where) : content_(content), where_(where) {}

  std::vector<Entry> take() { return std::move(entries_); }
  std::map<std::string, std::string> take_metadata() { return std::move(metadata_); }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { unexpected("a number that is not whole"); }
  bool binary(binary_t&) override { unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::in_shape) {
      if (entry_.view.rank == TensorView::max_rank) {
        throw Error(ErrorKind::unsupported, fmt::format("more than {} dimensions", TensorView::max_rank), place());
      }
      entry_.view.shape[static_cast<std::size_t>(entry_.view.rank++)] = checked_cast<std::int64_t>(value, place());
    } else if (state_ == State::in_offsets && n_offsets_ < entry_.offsets.size()) {
      entry_.offsets[n_offsets_++] = checked_cast<std::size_t>(value, place());
    } else {
      unexpected("the number " + std::to_string(value));
    }
    return true;
  }

  bool string(string_t& value) override {
    if (state_ == State::metadata_value) {
      if (content_ == Content::integers) metadata_[metadata_key_] = value;  // nobody asks for a model's
      state_ = State::in_metadata;
    } else if (state_ == State::dtype) {
      read_type(value);
      state_ = State::in_tensor;
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (state_ == State::start) {
      state_ = State::in_header;
    } else if (state_ == State::metadata) {
      state_ = State::in_metadata;
    } else if (state_ == State::tensor) {
      state_ = State::in_tensor;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool key(string_t& value) override {
    switch (state_) {
      case State::in_header:
        start_entry(value);
        break;
      case State::in_metadata:
        if (!metadata_keys_.insert(value).second) twice(value);
        metadata_key_ = value;
        state_ = State::metadata_value;
        break;
      case State::in_tensor:
        start_field(value);
        break;
      default:
        unexpected("a key");
    }
    return true;
  }

  bool end_object() override {
    if (state_ == State::in_tensor) {
      finish_entry();
    } else if (state_ == State::in_header) {
      state_ = State::end;
      return true;
    }
    state_ = State::in_header;
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ == State::shape) {
      state_ = State::in_shape;
    } else if (state_ == State::offsets) {
      state_ = State::in_offsets;
    } else {
      unexpected("an array");
    }
    return true;
  }

  bool end_array() override {
    if (state_ == State::in_offsets && n_offsets_ != entry_.offsets.size()) invalid("data_offsets must be two numbers");
    state_ = State::in_tensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    throw Error(ErrorKind::invalid_file, fmt::format("the header is not valid JSON at its byte {}", position), where_,
                damaged_file_advice);
  }

 private:
  enum class State {
    start,
    in_header,
    metadata,
    in_metadata,
    metadata_value,
    tensor,
    in_tensor,
    dtype,
    shape,
    in_shape,
    offsets,
    in_offsets,
    end
  };

  std::string place() const { return name_.empty() ? where_ : where_ + ": tensor " + quote(name_); }
  [[noreturn]] void invalid(std::string message) const {
    throw Error(ErrorKind::invalid_file, std::move(message), place(), damaged_file_advice);
  }
  [[noreturn]] void unexpected(const std::string& found) const {
    invalid("the header may not have " + found + " here");
  }
  [[noreturn]] void twice(std::string_view key) const { invalid("the key " + quote(key) + " occurs twice"); }

  void read_type(std::string_view type) {
    if (content_ == Content::weights) {
      const auto dtype = dtype_from_safetensors(type);
      if (!dtype)
        throw Error(ErrorKind::unsupported,
                    "moebox reads safetensors of F32, F16, BF16 and F8_E4M3, found " + quote(type), place(),
                    "take the model in one of these types, or as GGUF");
      entry_.view.dtype = *dtype;
    } else {
      const auto integer = integer_type(type);
      if (!integer)
        throw Error(ErrorKind::invalid_file, "expected whole numbers (U8, U16, U32 or I64), found " + quote(type),
                    place(), "is this a model, or another program's file?");
      entry_.integer = *integer;
    }
  }

  void start_entry(const std::string& name) {
    name_.clear();
    if (name == "__metadata__") {
      if (std::exchange(has_metadata_, true)) twice(name);
      state_ = State::metadata;
      return;
    }
    if (name.empty() || name.size() > max_name_bytes) {
      invalid(fmt::format("a tensor's name must have 1 to {} bytes, found {}", max_name_bytes, quote(name)));
    }
    if (entries_.size() == max_tensors_per_file) {
      throw Error(ErrorKind::invalid_file, fmt::format("more than {} tensors in one file", max_tensors_per_file),
                  where_, damaged_file_advice);
    }
    name_ = name;
    entry_ = {};
    entry_.view.name = name;
    n_offsets_ = 0;
    has_dtype_ = has_shape_ = has_offsets_ = false;
    state_ = State::tensor;
  }

  void start_field(const std::string& field) {
    const auto enter = [&](bool& seen, State state) {
      if (std::exchange(seen, true)) twice(field);
      state_ = state;
    };
    if (field == "dtype") {
      enter(has_dtype_, State::dtype);
    } else if (field == "shape") {
      enter(has_shape_, State::shape);
    } else if (field == "data_offsets") {
      enter(has_offsets_, State::offsets);
    } else {
      invalid("a tensor has dtype, shape and data_offsets, found " + quote(field));
    }
  }

  void finish_entry() {
    if (!has_dtype_ || !has_shape_ || !has_offsets_) invalid("a tensor must have dtype, shape and data_offsets");
    entries_.push_back(std::move(entry_));
    name_.clear();
  }

  const Content content_;
  const std::string& where_;
  State state_ = State::start;
  std::vector<Entry> entries_;
  Entry entry_;
  std::string name_;  // of the tensor being read, for errors
  std::size_t n_offsets_ = 0;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false, has_metadata_ = false;
  std::set<std::string> metadata_keys_;
  std::string metadata_key_;  // the last one
  std::map<std::string, std::string> metadata_;
};

struct Parts {
  std::string_view header;
  std::span<const std::byte> data;
};

Parts take_apart(std::span<const std::byte> bytes, const std::string& where) {
  ByteReader reader(bytes, where);
  const auto header_bytes = reader.number<std::uint64_t>("the header's length");
  if (header_bytes > max_header_bytes || header_bytes > reader.remaining()) {
    throw Error(
        ErrorKind::invalid_file,
        fmt::format("the header says it has {} bytes; the file has {} after its length, and at most {} are allowed",
                    header_bytes, reader.remaining(), max_header_bytes),
        where, "check that this is a safetensors file; it may be cut short: fetch it again");
  }
  const auto header = reader.take(static_cast<std::size_t>(header_bytes), "the header");
  // The format wants '{' at once; trailing spaces pad the header.
  if (header.empty() || header.front() != std::byte{'{'})
    throw Error(ErrorKind::invalid_file, "the header must start with '{'", where, damaged_file_advice);
  return {{reinterpret_cast<const char*>(header.data()), header.size()}, bytes.subspan(reader.position())};
}

}  // namespace

std::vector<TensorView> parse_safetensors(std::span<const std::byte> bytes, const std::string& where) {
  const auto [header, data] = take_apart(bytes, where);
  HeaderReader header_reader(Content::weights, where);
  nlohmann::json::sax_parse(header, &header_reader);
  std::vector<Entry> entries = header_reader.take();

  std::vector<TensorView> tensors;
  std::vector<TensorExtent> extents;
  tensors.reserve(entries.size());
  extents.reserve(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    Entry& entry = entries[i];
    const auto [begin, end] = entry.offsets;
    const std::size_t n_bytes = tensor_bytes(entry.view, where);
    if (begin > end || end - begin != n_bytes) {
      throw Error(ErrorKind::invalid_file,
                  fmt::format("{} of type {} takes {} bytes, but data_offsets are {} .. {}", shape_text(entry.view),
                              name(entry.view.dtype), n_bytes, begin, end),
                  where + ": tensor " + quote(entry.view.name), damaged_file_advice);
    }
    extents.push_back({i, begin, end});
    tensors.push_back(std::move(entry.view));
  }
  check_unique_names(tensors, where);
  check_layout(extents, tensors, data.size(), true, where);

  std::vector<TensorView> ordered;
  ordered.reserve(tensors.size());
  for (const TensorExtent& extent : extents) {
    ordered.push_back(std::move(tensors[extent.tensor]));
    ordered.back().data = data.subspan(extent.begin, extent.end - extent.begin);
  }
  return ordered;
}

int IntegerTensor::element_bytes() const noexcept {
  switch (type) {
    case Type::u8:
      return 1;
    case Type::u16:
      return 2;
    case Type::u32:
      return 4;
    case Type::i64:
      return 8;
  }
  return 0;
}

IntegerFile parse_integer_safetensors(std::span<const std::byte> bytes, const std::string& where) {
  const auto [header, data] = take_apart(bytes, where);
  HeaderReader header_reader(Content::integers, where);
  nlohmann::json::sax_parse(header, &header_reader);
  const std::vector<Entry> entries = header_reader.take();

  std::vector<TensorView> names;  // for the checks' messages
  std::vector<TensorExtent> extents;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    const std::string place = where + ": tensor " + quote(entry.view.name);
    IntegerTensor tensor{.type = entry.integer};
    std::size_t n_bytes = static_cast<std::size_t>(tensor.element_bytes());
    for (int d = 0; d < entry.view.rank; ++d)
      n_bytes =
          checked_mul(n_bytes, checked_cast<std::size_t>(entry.view.shape[static_cast<std::size_t>(d)], place), place);
    const auto [begin, end] = entry.offsets;
    if (begin > end || end - begin != n_bytes)
      throw Error(ErrorKind::invalid_file,
                  fmt::format("{} of {} bytes each takes {} bytes, but data_offsets are {} .. {}",
                              shape_text(entry.view), tensor.element_bytes(), n_bytes, begin, end),
                  place, damaged_file_advice);
    extents.push_back({i, begin, end});
    names.push_back(entry.view);
  }
  check_unique_names(names, where);
  check_layout(extents, names, data.size(), true, where);

  IntegerFile file{.metadata = header_reader.take_metadata(), .tensors = {}, .data = data};
  for (const TensorExtent& extent : extents) {
    const Entry& entry = entries[extent.tensor];
    const auto shape = entry.view.shape.begin();
    file.tensors.push_back({.name = entry.view.name,
                            .type = entry.integer,
                            .shape = {shape, shape + entry.view.rank},
                            .data = data.subspan(extent.begin, extent.end - extent.begin)});
  }
  return file;
}

}  // namespace moebox
