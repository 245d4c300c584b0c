// BLAKE2b (RFC 7693) with 32 bytes: what files, tokenizers and documents are recognised by.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace moebox::data {

using Digest = std::array<std::uint8_t, 32>;

/// Takes bytes piece by piece.
class Hasher {
 public:
  Hasher();
  Hasher& add(std::span<const std::byte> bytes) noexcept;
  Hasher& add(std::string_view text) noexcept { return add(std::as_bytes(std::span(text))); }
  /// A number as eight bytes, little-endian.
  Hasher& add_number(std::uint64_t value) noexcept;
  Digest finish() noexcept;

 private:
  alignas(64) std::array<std::byte, 512> state_;
};

Digest digest_of(std::span<const std::byte> bytes) noexcept;

/// 64 small hexadecimal digits.
std::string hex(const Digest& digest);
/// Whether `text` is what hex() gives.
bool is_hex_digest(std::string_view text) noexcept;

}  // namespace moebox::data
