// Checksums of files on their way in: SHA-256, and git's object id for files that the hub keeps in git itself.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace moebox {

enum class DigestKind { none, sha256, git_blob };

/// What a file must hash to. `hex` is lower case: 64 digits of SHA-256, or 40 of git's id of a blob.
struct Digest {
  DigestKind kind = DigestKind::none;
  std::string hex;

  bool operator==(const Digest&) const = default;

  /// By the number of hexadecimal digits; anything else gives none.
  static Digest from_hex(std::string_view hex);
};

/// Hashes bytes as they come. git's id of a blob is the SHA-1 of "blob <size>\0" and the bytes, so it needs the size
/// first.
class Hasher {
 public:
  Hasher(DigestKind kind, std::uint64_t size_bytes);
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  void update(std::string_view bytes);
  /// The digest in hexadecimal; the hasher is spent.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moebox
