// A file on its way into the store: `<target>.part`, which becomes `<target>` only when it is whole and checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "hub/digest.h"

namespace moebox {

/// What the other side says of a file; a partial file may be continued only when all of it is still the same.
struct FileIdentity {
  std::uint64_t size_bytes = 0;  // 0: not known
  Digest digest;                 // none: not known
  std::string etag;              // of the server that sends the bytes; only looked at when there is no digest
};

/// Where the bytes and the note about them lie until the file is whole.
std::filesystem::path part_path(const std::filesystem::path& target);
std::filesystem::path part_state_path(const std::filesystem::path& target);
/// Deletes what an interrupted pull left of `target`. Returns whether there was anything.
bool remove_partial(const std::filesystem::path& target);

/// Throws Error(io) when the disk that holds `folder` has less than `needed_bytes` free.
void check_free_space(const std::filesystem::path& folder, std::uint64_t needed_bytes);

/// One writer at a time: the caller holds the lock. Throws Error(io) that says when the disk is full.
class PartialFile {
 public:
  /// Opens what is there of `target` and keeps its bytes when they belong to `identity`; otherwise begins anew.
  PartialFile(std::filesystem::path target, FileIdentity identity);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  std::uint64_t size_bytes() const noexcept { return size_bytes_; }
  const FileIdentity& identity() const noexcept { return identity_; }

  /// Appends. Bytes beyond the identity's size are refused with Error(network).
  void append(std::string_view bytes);
  /// Throws the bytes away, and notes the server's new `etag`.
  void restart(std::string etag);
  /// Checks size and digest, makes the bytes durable and gives the file its name. When the check fails the partial file
  /// is deleted and Error(network) thrown. Returns the digest as computed.
  std::string commit();

 private:
  void open_part();
  void write_state() const;
  bool state_matches() const;
  void hash_what_is_there();

  std::filesystem::path target_, part_;
  FileIdentity identity_;
  Hasher hasher_;
  int fd_ = -1;
  std::uint64_t size_bytes_ = 0;
};

/// Writes all of `bytes` to `fd`; `name` is for the message. Throws Error(io).
void write_all(int fd, std::string_view bytes, const std::filesystem::path& name);

/// Makes a rename in `folder` durable.
void sync_folder(const std::filesystem::path& folder);

}  // namespace moebox
