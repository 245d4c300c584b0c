#include "server/keys.h"

#include <cstdlib>
#include <fstream>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include "base/log.h"
#include "server/readable.h"

namespace moebox {
namespace {

constexpr std::size_t shortest_key = 8;
constexpr std::size_t longest_key_file = 1u << 20;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const auto first = text.find_first_not_of(blank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

std::optional<std::string> from_hex(std::string_view hex) {
  if (hex.size() != 2 * SHA256_DIGEST_LENGTH) return std::nullopt;
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    int byte = 0;
    for (const char c : hex.substr(i, 2)) {
      int digit;
      if (c >= '0' && c <= '9')
        digit = c - '0';
      else if (c >= 'a' && c <= 'f')
        digit = c - 'a' + 10;
      else if (c >= 'A' && c <= 'F')
        digit = c - 'A' + 10;
      else
        return std::nullopt;
      byte = byte * 16 + digit;
    }
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

/// The digest to keep of what a line says after its name; nothing when it is no usable key.
std::optional<std::string> digest_of(std::string_view secret) {
  constexpr std::string_view hashed = "sha256:";
  if (secret.starts_with(hashed)) return from_hex(secret.substr(hashed.size()));
  if (secret.size() < shortest_key || secret.find_first_of(" \t") != std::string_view::npos) return std::nullopt;
  return sha256(secret);
}

}  // namespace

std::string sha256(std::string_view text) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  unsigned int size = 0;
  if (EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(digest.data()), &size, EVP_sha256(),
                 nullptr) != 1) {
    throw Error(ErrorKind::internal, "SHA-256 is not available", "OpenSSL");
  }
  return digest;
}

std::vector<ApiKey> read_key_file(const std::filesystem::path& path) {
  require_readable(path, "the key file");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorKind::io, "the key file cannot be opened", path.string());
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0 && (status.st_mode & (S_IROTH | S_IWOTH | S_IWGRP)) != 0) {
    log(LogLevel::warning, "key_file_permissions", {{"file", path.string()}, {"advice", "chmod 600"}});
  }
  std::vector<ApiKey> keys;
  std::string line;
  std::size_t n_bytes = 0;
  for (int number = 1; std::getline(file, line); ++number) {
    const std::string where = path.string() + ", line " + std::to_string(number);
    n_bytes += line.size() + 1;
    if (n_bytes > longest_key_file) throw Error(ErrorKind::invalid_file, "the key file is larger than 1 MiB", where);
    const std::string_view text = trimmed(line);
    if (text.empty() || text.front() == '#') continue;
    const auto colon = text.find(':');
    const std::string name(trimmed(text.substr(0, colon)));
    if (colon == std::string_view::npos || name.empty()) {
      throw Error(ErrorKind::invalid_file, "expected \"name:key\" or \"name:sha256:<64 hex digits>\"", where);
    }
    const auto digest = digest_of(trimmed(text.substr(colon + 1)));
    if (!digest) {
      throw Error(ErrorKind::invalid_file,
                  "the key of '" + name + "' is empty, shorter than 8 characters, has blanks or is no SHA-256", where,
                  "a good key: openssl rand -hex 24");
    }
    for (const ApiKey& other : keys) {
      if (other.name == name) throw Error(ErrorKind::invalid_file, "the name '" + name + "' comes twice", where);
    }
    keys.push_back({name, *digest});
  }
  if (keys.empty()) throw Error(ErrorKind::invalid_file, "the key file holds no key", path.string());
  return keys;
}

std::vector<ApiKey> keys_from_environment() {
  const char* value = std::getenv("MOEBOX_API_KEY");
  if (value == nullptr) return {};
  const auto digest = digest_of(trimmed(value));
  if (!digest) {
    throw Error(ErrorKind::invalid_argument, "MOEBOX_API_KEY is set but empty, shorter than 8 characters or has blanks",
                "environment", "unset it, or give it a key: openssl rand -hex 24");
  }
  return {{"environment", *digest}};
}

std::optional<int> Keys::find(std::string_view authorization) const {
  constexpr std::string_view scheme = "bearer ";
  if (authorization.size() <= scheme.size()) return std::nullopt;
  for (std::size_t i = 0; i < scheme.size(); ++i) {
    const char c = authorization[i];
    if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != scheme[i]) return std::nullopt;
  }
  const std::string digest = sha256(trimmed(authorization.substr(scheme.size())));
  int found = -1;
  for (int i = 0; i < size(); ++i) {
    const std::string& known = keys_[static_cast<std::size_t>(i)].sha256;
    const bool same = known.size() == digest.size() && CRYPTO_memcmp(known.data(), digest.data(), digest.size()) == 0;
    found = same ? i : found;
  }
  if (found < 0) return std::nullopt;
  return found;
}

}  // namespace moebox
