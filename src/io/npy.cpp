#include "io/npy.h"

#include <charconv>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <string_view>
#include <type_traits>

#include <fmt/core.h>

#include "base/checked.h"
#include "base/error.h"
#include "io/byte_reader.h"
#include "io/mapped_file.h"
#include "io/quote.h"

namespace moebox {
namespace {

constexpr std::string_view magic("\x93NUMPY", 6);
constexpr std::size_t max_npy_header_bytes = 65'536;
constexpr std::size_t max_rank = 32;  // NumPy's

template <class T>
constexpr std::string_view descr() {
  if constexpr (std::is_same_v<T, float>) return "<f4";
  if constexpr (std::is_same_v<T, std::int32_t>) return "<i4";
  if constexpr (std::is_same_v<T, std::int64_t>) return "<i8";
}

/// Reads the header: a Python dictionary of the keys 'descr', 'fortran_order' and 'shape', in any order.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  void parse() {
    expect('{');
    while (!accept('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr") {
        descr = quoted();
      } else if (key == "fortran_order") {
        if (word() != "False") fail("the array must be in C order");
      } else if (key == "shape") {
        parse_shape();
      } else {
        fail("unknown key " + quote(key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (descr.empty() || !has_shape_) fail("'descr' and 'shape' must be there");
  }

  std::string_view descr;
  std::vector<std::int64_t> shape;

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorKind::invalid_file, "the header is not that of a .npy array: " + message, where_);
  }

  void skip_spaces() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\n')) text_.remove_prefix(1);
  }

  bool accept(char c) {
    skip_spaces();
    if (!text_.starts_with(c)) return false;
    text_.remove_prefix(1);
    return true;
  }

  void expect(char c) {
    if (!accept(c)) fail(fmt::format("expected '{}'", c));
  }

  std::string_view take(std::size_t n) {
    const std::string_view taken = text_.substr(0, n);
    text_.remove_prefix(taken.size());
    return taken;
  }

  std::string_view quoted() {
    expect('\'');
    const std::string_view text = take(text_.find('\''));
    expect('\'');
    return text;
  }

  std::string_view word() {
    skip_spaces();
    return take(text_.find_first_of(",} "));
  }

  void parse_shape() {
    has_shape_ = true;
    shape.clear();
    expect('(');
    while (!accept(')')) {
      skip_spaces();
      std::int64_t dimension = 0;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), dimension);
      if (error != std::errc{} || dimension < 0 || shape.size() == max_rank) fail("the shape is not valid");
      take(static_cast<std::size_t>(end - text_.data()));
      shape.push_back(dimension);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
  }

  std::string_view text_;
  const std::string& where_;
  bool has_shape_ = false;
};

template <class T>
std::vector<T> values_of(std::span<const std::byte> data, std::size_t n_values, const std::string& where) {
  if (checked_mul(n_values, sizeof(T), where) != data.size()) {
    throw Error(
        ErrorKind::invalid_file,
        fmt::format("the shape asks for {} values of {} bytes, found {} bytes", n_values, sizeof(T), data.size()),
        where);
  }
  std::vector<T> values(n_values);
  if (n_values > 0) std::memcpy(values.data(), data.data(), data.size());
  return values;
}

std::size_t n_elements(std::span<const std::int64_t> shape, std::string_view where) {
  std::size_t n = 1;
  for (const std::int64_t dimension : shape) n = checked_mul(n, checked_cast<std::size_t>(dimension, where), where);
  return n;
}

/// All that comes before the values, in version 1.0.
template <class T>
std::string head(std::span<const std::int64_t> shape, std::string_view where) {
  std::string dimensions;
  for (const std::int64_t dimension : shape) dimensions += std::to_string(dimension) + ",";
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr<T>(), dimensions);
  constexpr std::size_t before_header = magic.size() + 4;
  header.append(63 - (before_header + header.size()) % 64, ' ');  // the data start at a multiple of 64
  header += '\n';
  const auto header_bytes = checked_cast<std::uint16_t>(header.size(), where);
  std::string text(magic);
  text += {'\x01', '\x00', static_cast<char>(header_bytes & 0xff), static_cast<char>(header_bytes >> 8)};
  return text + header;
}

template <class T>
void write(const std::filesystem::path& path, std::span<const T> values, std::span<const std::int64_t> shape) {
  if (n_elements(shape, path.string()) != values.size()) {
    throw Error(ErrorKind::invalid_argument, fmt::format("the shape does not have {} elements", values.size()),
                path.string());
  }
  const std::string before = head<T>(shape, path.string());
  std::ofstream file(path, std::ios::binary);
  file << before;
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size_bytes()));
  file.close();
  if (!file) throw Error(ErrorKind::io, "cannot write the file", path.string(), "check the folder and the free space");
}

}  // namespace

template <class T>
const std::vector<T>& NpyArray::as() const {
  if (const auto* found = std::get_if<std::vector<T>>(&values)) return *found;
  throw Error(ErrorKind::invalid_file, fmt::format("expected an array of type '{}'", descr<T>()), ".npy");
}
template const std::vector<float>& NpyArray::as() const;
template const std::vector<std::int32_t>& NpyArray::as() const;
template const std::vector<std::int64_t>& NpyArray::as() const;

NpyArray parse_npy(std::span<const std::byte> bytes, const std::string& where) {
  ByteReader reader(bytes, where);
  const auto start = reader.take(magic.size(), "the magic");
  const auto major = reader.number<std::uint8_t>("the version");
  reader.number<std::uint8_t>("the version");
  if (std::memcmp(start.data(), magic.data(), magic.size()) != 0 || major < 1 || major > 3) {
    throw Error(ErrorKind::invalid_file, "expected a .npy file of version 1, 2 or 3", where);
  }
  const std::size_t header_bytes = major == 1 ? reader.number<std::uint16_t>("the header's length")
                                              : reader.number<std::uint32_t>("the header's length");
  if (header_bytes > max_npy_header_bytes) {
    throw Error(ErrorKind::invalid_file,
                fmt::format("the header may have {} bytes, found {}", max_npy_header_bytes, header_bytes), where);
  }
  const auto header = reader.take(header_bytes, "the header");
  HeaderParser parser({reinterpret_cast<const char*>(header.data()), header.size()}, where);
  parser.parse();

  const auto data = reader.take(reader.remaining(), "the data");
  const std::size_t n_values = n_elements(parser.shape, where);
  NpyArray array;
  array.shape = parser.shape;
  if (parser.descr == descr<float>()) {
    array.values = values_of<float>(data, n_values, where);
  } else if (parser.descr == descr<std::int32_t>()) {
    array.values = values_of<std::int32_t>(data, n_values, where);
  } else if (parser.descr == descr<std::int64_t>()) {
    array.values = values_of<std::int64_t>(data, n_values, where);
  } else {
    throw Error(ErrorKind::unsupported, "expected type '<f4', '<i4' or '<i8', found " + quote(parser.descr), where);
  }
  return array;
}

NpyArray read_npy(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_npy(file.bytes(), path.string());
}

std::string float32_npy_head(std::span<const std::int64_t> shape) { return head<float>(shape, ".npy"); }

void write_npy(const std::filesystem::path& path, std::span<const float> values, std::span<const std::int64_t> shape) {
  write(path, values, shape);
}
void write_npy(const std::filesystem::path& path, std::span<const std::int32_t> values,
               std::span<const std::int64_t> shape) {
  write(path, values, shape);
}
void write_npy(const std::filesystem::path& path, std::span<const std::int64_t> values,
               std::span<const std::int64_t> shape) {
  write(path, values, shape);
}

}  // namespace moebox
