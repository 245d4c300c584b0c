#include "hub/partial_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/error.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t max_state_bytes = 64u << 10;

fs::path with_suffix(fs::path path, const char* suffix) {
  path += suffix;
  return path;
}

[[noreturn]] void fail(const fs::path& path, const char* what, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw Error(
      ErrorKind::io,
      full ? fmt::format("the disk is full or the quota used up ({})", std::strerror(error))
           : fmt::format("{}: {}", what, std::strerror(error)),
      path.string(),
      full ? "free some space, or put the store elsewhere with MOEBOX_STORE; the pull continues where it stopped" : "");
}

std::string digest_text(const Digest& digest) {
  if (digest.kind == DigestKind::none) return {};
  return (digest.kind == DigestKind::sha256 ? "sha256:" : "git:") + digest.hex;
}

}  // namespace

fs::path part_path(const fs::path& target) { return with_suffix(target, ".part"); }
fs::path part_state_path(const fs::path& target) { return with_suffix(target, ".part.json"); }

bool remove_partial(const fs::path& target) {
  std::error_code ignored;
  const bool bytes = fs::remove(part_path(target), ignored);
  const bool state = fs::remove(part_state_path(target), ignored);
  return bytes || state;
}

void check_free_space(const fs::path& folder, std::uint64_t needed_bytes) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error || space.available >= needed_bytes) return;  // what cannot be asked shows when writing
  throw Error(ErrorKind::io,
              fmt::format("{:.1f} MB are needed, {:.1f} MB are free", static_cast<double>(needed_bytes) / 1e6,
                          static_cast<double>(space.available) / 1e6),
              folder.string(), "free some space, or put the store elsewhere with MOEBOX_STORE");
}

void write_all(int fd, std::string_view bytes, const fs::path& name) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(name, "cannot be written", errno);
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void sync_folder(const fs::path& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // not every file system lets one open a folder; the rename itself has happened
  fsync(fd);
  close(fd);
}

PartialFile::PartialFile(fs::path target, FileIdentity identity)
    : target_(std::move(target)),
      part_(part_path(target_)),
      identity_(std::move(identity)),
      hasher_(identity_.digest.kind, identity_.size_bytes) {
  const bool continued = state_matches();
  open_part();
  if (continued) {
    hash_what_is_there();
  } else {
    restart(identity_.etag);
  }
}

PartialFile::~PartialFile() {
  if (fd_ >= 0) close(fd_);
}

void PartialFile::open_part() {
  fd_ = open(part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) fail(part_, "cannot be opened", errno);
}

bool PartialFile::state_matches() const {
  std::ifstream file(part_state_path(target_), std::ios::binary);
  if (!file) return false;
  std::string text(max_state_bytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  const json state = json::parse(text, nullptr, false);
  if (!state.is_object()) return false;
  const auto field = [&](const char* name) { return state.contains(name) ? state[name] : json(); };
  if (field("size_bytes") != identity_.size_bytes || field("digest") != digest_text(identity_.digest)) return false;
  // Without a digest only the server's own tag tells one version of a file from the next.
  return identity_.digest.kind != DigestKind::none || (!identity_.etag.empty() && field("etag") == identity_.etag);
}

void PartialFile::write_state() const {
  const fs::path path = part_state_path(target_);
  const json state = {
      {"size_bytes", identity_.size_bytes}, {"digest", digest_text(identity_.digest)}, {"etag", identity_.etag}};
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) fail(path, "cannot be opened", errno);
  try {
    write_all(fd, state.dump(-1, ' ', true, json::error_handler_t::replace), path);
  } catch (...) {
    close(fd);
    throw;
  }
  close(fd);
}

void PartialFile::hash_what_is_there() {
  std::vector<char> buffer(1u << 20);
  while (true) {
    const ssize_t count = read(fd_, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(part_, "cannot be read", errno);
    if (count == 0) break;
    size_bytes_ += static_cast<std::uint64_t>(count);
    if (identity_.size_bytes != 0 && size_bytes_ > identity_.size_bytes) return restart(identity_.etag);
    hasher_.update({buffer.data(), static_cast<std::size_t>(count)});
  }
}

void PartialFile::restart(std::string etag) {
  // The bytes go first: a kill in between must not leave old bytes beside a new note.
  if (ftruncate(fd_, 0) != 0) fail(part_, "cannot be emptied", errno);
  if (lseek(fd_, 0, SEEK_SET) < 0) fail(part_, "cannot be rewound", errno);
  size_bytes_ = 0;
  hasher_ = Hasher(identity_.digest.kind, identity_.size_bytes);
  identity_.etag = std::move(etag);
  write_state();
}

void PartialFile::append(std::string_view bytes) {
  if (identity_.size_bytes != 0 && bytes.size() > identity_.size_bytes - size_bytes_) {
    throw Error(ErrorKind::network,
                fmt::format("more bytes came than the {} that were announced", identity_.size_bytes), target_.string());
  }
  write_all(fd_, bytes, part_);
  hasher_.update(bytes);
  size_bytes_ += bytes.size();
}

std::string PartialFile::commit() {
  const std::string computed = hasher_.finish();
  const bool whole = identity_.size_bytes == 0 || size_bytes_ == identity_.size_bytes;
  if (!whole || computed != identity_.digest.hex) {
    const std::string what = whole ? fmt::format("the checksum is {}, expected {}", computed, identity_.digest.hex)
                                   : fmt::format("{} bytes came, expected {}", size_bytes_, identity_.size_bytes);
    remove_partial(target_);
    throw Error(ErrorKind::network, what, target_.string(), "what came was thrown away; pull again");
  }
  if (fsync(fd_) != 0) fail(part_, "cannot be made durable", errno);
  if (rename(part_.c_str(), target_.c_str()) != 0) fail(target_, "cannot be named", errno);
  sync_folder(target_.parent_path());
  std::error_code ignored;
  fs::remove(part_state_path(target_), ignored);
  return computed;
}

}  // namespace moebox
