// The store's keys: names of blocks, and records that nobody else can read or forge (libsodium).
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <string_view>

#include "runtime/block_store.h"

namespace moebox {

class StoreSecrets {
 public:
  static constexpr std::size_t salt_bytes = 32, id_bytes = 16, nonce_bytes = 24, tag_bytes = 16;
  static constexpr std::size_t shortest_key = 8, longest_key = 4096;

  /// `key` is a text of the user's: Argon2id makes 32 bytes of it and the salt. Empty: records are not encrypted, and
  /// names are keyed by the salt alone. Throws Error(invalid_argument) for a key that is too short or too long,
  /// Error(resource) when there is no memory for Argon2id (64 MiB).
  StoreSecrets(std::span<const std::byte, salt_bytes> salt, std::string_view key);
  ~StoreSecrets();
  StoreSecrets(const StoreSecrets&) = delete;
  StoreSecrets& operator=(const StoreSecrets&) = delete;

  bool seals() const noexcept { return seals_; }
  /// Tells these keys from others; says nothing of them.
  const std::array<std::byte, id_bytes>& id() const noexcept { return id_; }

  /// BLAKE2b-256, keyed. Who calls sees to it that parts cannot run into each other.
  BlockName digest(std::initializer_list<std::span<const std::byte>> parts) const noexcept;

  /// XChaCha20-Poly1305, in place: `buffer` is the text and room for a tag behind it. `associated` is not encrypted,
  /// and bound to it.
  void seal(std::span<std::byte> buffer, std::span<const std::byte> associated,
            std::span<std::byte, nonce_bytes> nonce) const noexcept;
  /// False when it is not what was sealed.
  bool open(std::span<std::byte> buffer, std::span<const std::byte> associated,
            std::span<const std::byte, nonce_bytes> nonce) const noexcept;

  static void random(std::span<std::byte> bytes);

 private:
  std::array<std::byte, 32> name_key_{}, record_key_{};
  std::array<std::byte, id_bytes> id_{};
  bool seals_ = false;
};

}  // namespace moebox
