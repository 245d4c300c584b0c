#include "kv_store/secrets.h"

#include <algorithm>
#include <string>

#include <sodium.h>

#include "base/error.h"

namespace moebox {
namespace {

unsigned char* raw(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }
const unsigned char* raw(const std::byte* bytes) { return reinterpret_cast<const unsigned char*>(bytes); }

constexpr char kdf_context[] = "moeboxkv";  // crypto_kdf_CONTEXTBYTES
enum SubKey : std::uint64_t { for_names = 1, for_records = 2, for_id = 3, for_names_without_key = 4 };

}  // namespace

StoreSecrets::StoreSecrets(std::span<const std::byte, salt_bytes> salt, std::string_view key) : seals_(!key.empty()) {
  static_assert(sizeof name_key_ == crypto_generichash_KEYBYTES && salt_bytes >= crypto_pwhash_SALTBYTES &&
                nonce_bytes == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES &&
                tag_bytes == crypto_aead_xchacha20poly1305_ietf_ABYTES && salt_bytes == crypto_kdf_KEYBYTES);
  if (sodium_init() < 0) throw Error(ErrorKind::internal, "libsodium cannot be used");
  std::array<std::byte, crypto_kdf_KEYBYTES> main{};
  if (seals_) {
    if (key.size() < shortest_key || key.size() > longest_key)
      throw Error(ErrorKind::invalid_argument,
                  "expected a key of " + std::to_string(shortest_key) + " to " + std::to_string(longest_key) +
                      " characters, found " + std::to_string(key.size()),
                  "key of the KV store", "a good key: openssl rand -hex 24");
    if (crypto_pwhash(raw(main.data()), main.size(), key.data(), key.size(), raw(salt.data()),
                      crypto_pwhash_OPSLIMIT_INTERACTIVE, crypto_pwhash_MEMLIMIT_INTERACTIVE,
                      crypto_pwhash_ALG_ARGON2ID13) != 0)
      throw Error(ErrorKind::resource, "there are no 64 MiB of memory to derive the key with", "key of the KV store");
  } else {
    std::copy(salt.begin(), salt.end(), main.begin());
  }
  const auto derive = [&](std::span<std::byte> sub, SubKey id) {
    crypto_kdf_derive_from_key(raw(sub.data()), sub.size(), id, kdf_context, raw(main.data()));
  };
  derive(name_key_, seals_ ? for_names : for_names_without_key);
  derive(record_key_, for_records);
  derive(id_, for_id);
  sodium_memzero(main.data(), main.size());
}

StoreSecrets::~StoreSecrets() {
  sodium_memzero(name_key_.data(), name_key_.size());
  sodium_memzero(record_key_.data(), record_key_.size());
}

BlockName StoreSecrets::digest(std::initializer_list<std::span<const std::byte>> parts) const noexcept {
  BlockName name;
  crypto_generichash_state state;
  crypto_generichash_init(&state, raw(name_key_.data()), name_key_.size(), name.bytes.size());
  for (const auto part : parts) crypto_generichash_update(&state, raw(part.data()), part.size());
  crypto_generichash_final(&state, raw(name.bytes.data()), name.bytes.size());
  return name;
}

void StoreSecrets::seal(std::span<std::byte> buffer, std::span<const std::byte> associated,
                        std::span<std::byte, nonce_bytes> nonce) const noexcept {
  randombytes_buf(nonce.data(), nonce.size());
  crypto_aead_xchacha20poly1305_ietf_encrypt(raw(buffer.data()), nullptr, raw(buffer.data()), buffer.size() - tag_bytes,
                                             raw(associated.data()), associated.size(), nullptr, raw(nonce.data()),
                                             raw(record_key_.data()));
}

bool StoreSecrets::open(std::span<std::byte> buffer, std::span<const std::byte> associated,
                        std::span<const std::byte, nonce_bytes> nonce) const noexcept {
  return buffer.size() >= tag_bytes &&
         crypto_aead_xchacha20poly1305_ietf_decrypt(raw(buffer.data()), nullptr, nullptr, raw(buffer.data()),
                                                    buffer.size(), raw(associated.data()), associated.size(),
                                                    raw(nonce.data()), raw(record_key_.data())) == 0;
}

void StoreSecrets::random(std::span<std::byte> bytes) {
  if (sodium_init() < 0) throw Error(ErrorKind::internal, "libsodium cannot be used");
  randombytes_buf(bytes.data(), bytes.size());
}

}  // namespace moebox
