// A cursor over little-endian bytes that never reads past the end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace moebox {

static_assert(std::endian::native == std::endian::little, "moebox reads little-endian files without swapping");

/// `where` names the file in errors. The bytes are not owned.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string_view where) noexcept : bytes_(bytes), where_(where) {}

  std::size_t position() const noexcept { return position_; }
  std::size_t remaining() const noexcept { return bytes_.size() - position_; }
  std::string_view where() const noexcept { return where_; }

  /// The next `n_bytes`, which stay in place. Throws Error(invalid_file) that names `what` when fewer are left.
  std::span<const std::byte> take(std::size_t n_bytes, std::string_view what);

  template <class T>
    requires std::is_arithmetic_v<T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

  /// A string of GGUF: its length as 64 bits, then the bytes.
  std::string_view string(std::string_view what, std::size_t max_bytes);

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
  std::string_view where_;
};

}  // namespace moebox
