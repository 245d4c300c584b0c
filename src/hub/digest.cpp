#include "hub/digest.h"

#include <algorithm>
#include <utility>

#include <openssl/evp.h>

#include "base/error.h"

namespace moebox {

struct Hasher::State {
  EVP_MD_CTX* context = nullptr;

  ~State() { EVP_MD_CTX_free(context); }
};

namespace {

void check(int ok) {
  if (ok != 1) throw Error(ErrorKind::internal, "OpenSSL could not hash");
}

}  // namespace

Digest Digest::from_hex(std::string_view hex) {
  const bool is_hex = std::all_of(hex.begin(), hex.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  });
  if (!is_hex || (hex.size() != 64 && hex.size() != 40)) return {};
  Digest digest{hex.size() == 64 ? DigestKind::sha256 : DigestKind::git_blob, std::string(hex)};
  std::transform(digest.hex.begin(), digest.hex.end(), digest.hex.begin(),
                 [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
  return digest;
}

Hasher::Hasher(DigestKind kind, std::uint64_t size_bytes) : state_(std::make_unique<State>()) {
  if (kind == DigestKind::none) return;
  state_->context = EVP_MD_CTX_new();
  check(state_->context != nullptr);
  check(EVP_DigestInit_ex(state_->context, kind == DigestKind::sha256 ? EVP_sha256() : EVP_sha1(), nullptr));
  if (kind == DigestKind::git_blob) update("blob " + std::to_string(size_bytes) + std::string(1, '\0'));
}

Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::update(std::string_view bytes) {
  if (state_->context != nullptr) check(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()));
}

std::string Hasher::finish() {
  if (state_->context == nullptr) return {};
  unsigned char raw[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  check(EVP_DigestFinal_ex(state_->context, raw, &size));
  constexpr std::string_view digits = "0123456789abcdef";
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    hex += digits[raw[i] >> 4];
    hex += digits[raw[i] & 15];
  }
  return hex;
}

}  // namespace moebox
