#include "data/digest.h"

#include <algorithm>

#include <sodium.h>

#include "base/error.h"

namespace moebox::data {
namespace {

static_assert(sizeof(crypto_generichash_state) <= 512);

crypto_generichash_state* state_at(std::array<std::byte, 512>& bytes) noexcept {
  return reinterpret_cast<crypto_generichash_state*>(bytes.data());
}

}  // namespace

Hasher::Hasher() : state_{} {
  if (sodium_init() < 0) throw Error(ErrorKind::internal, "libsodium cannot be used");
  crypto_generichash_init(state_at(state_), nullptr, 0, sizeof(Digest));
}

Hasher& Hasher::add(std::span<const std::byte> bytes) noexcept {
  crypto_generichash_update(state_at(state_), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  return *this;
}

Hasher& Hasher::add_number(std::uint64_t value) noexcept { return add(std::as_bytes(std::span(&value, 1))); }

Digest Hasher::finish() noexcept {
  Digest digest;
  crypto_generichash_final(state_at(state_), digest.data(), digest.size());
  return digest;
}

Digest digest_of(std::span<const std::byte> bytes) noexcept { return Hasher().add(bytes).finish(); }

std::string hex(const Digest& digest) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : digest) text += {digits[byte >> 4], digits[byte & 15]};
  return text;
}

bool is_hex_digest(std::string_view text) noexcept {
  return text.size() == 2 * sizeof(Digest) &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace moebox::data
