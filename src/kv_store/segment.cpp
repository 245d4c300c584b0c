#include "kv_store/segment.h"

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/xxh64.h"

namespace moebox {
namespace {

static_assert(sizeof(SegmentHeader) == 64);

constexpr std::string_view extension = ".kv";
constexpr std::size_t number_digits = 16;
constexpr std::uint64_t largest_number = std::uint64_t{1} << 62;  // a file that is called the last one ends nothing

std::uint64_t checksum_of(const SegmentHeader& header) noexcept {
  return xxh64(std::as_bytes(std::span(&header, 1)).first(offsetof(SegmentHeader, checksum)));
}

/// Bytes that were read, fewer at the file's end; -1 with errno.
ssize_t read_some(int fd, std::span<std::byte> bytes, std::uint64_t offset) noexcept {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return static_cast<ssize_t>(done);
}

/// False at the file's end.
template <class T>
bool read_value(int fd, std::uint64_t offset, T& value) {
  const ssize_t n = read_some(fd, std::as_writable_bytes(std::span(&value, 1)), offset);
  if (n < 0) throw Error(ErrorKind::io, std::string("cannot be read: ") + std::strerror(errno), "KV store");
  return n == sizeof value;
}

bool write_all(int fd, std::span<const std::byte> bytes, std::uint64_t offset) noexcept {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return true;
}

std::int64_t nanoseconds(const timespec& time) { return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

}  // namespace

SegmentContent scan_segment(int fd, std::uint64_t file_bytes, const StoreSecrets& secrets, std::size_t most_records) {
  SegmentContent content;
  SegmentHeader segment;
  if (file_bytes < sizeof segment || !read_value(fd, 0, segment)) return content;
  if (segment.magic != SegmentHeader::magic_value || segment.format_version != 1 ||
      segment.checksum != checksum_of(segment) || segment.secrets_id != secrets.id())
    return content;
  content.end = sizeof segment;
  RecordHeader header;
  while (file_bytes - content.end >= sizeof header && content.records.size() < most_records) {
    if (!read_value(fd, content.end, header) || !holds(header)) break;
    const std::uint64_t room = file_bytes - content.end - sizeof header;
    if (header.body_bytes > room) break;
    content.records.push_back({header.name, content.end, sizeof header + header.body_bytes});
    content.end += sizeof header + header.body_bytes;
  }
  return content;
}

std::optional<std::uint64_t> segment_number(const std::string& name) {
  if (name.size() != number_digits + extension.size() || !name.ends_with(extension)) return std::nullopt;
  std::uint64_t number = 0;
  const char* const last = name.data() + number_digits;
  const auto [end, error] = std::from_chars(name.data(), last, number, 16);
  if (error != std::errc() || end != last || number > largest_number || segment_name(number) != name)
    return std::nullopt;
  return number;
}

std::string segment_name(std::uint64_t number) {
  char digits[number_digits + 1];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(number));
  return std::string(digits) + std::string(extension);
}

std::shared_ptr<Segment> Segment::create(int folder, std::uint64_t number, const StoreSecrets& secrets) {
  const std::string name = segment_name(number);
  const int fd = ::openat(folder, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) throw Error(ErrorKind::io, std::string("cannot be made: ") + std::strerror(errno), name);
  std::shared_ptr<Segment> segment(new Segment(fd, number));
  SegmentHeader header;
  header.number = number;
  header.secrets_id = secrets.id();
  header.checksum = checksum_of(header);
  if (!segment->append(std::as_bytes(std::span(&header, 1)))) {
    const int error = errno;
    ::unlinkat(folder, name.c_str(), 0);
    throw Error(ErrorKind::io, std::string("cannot be written: ") + std::strerror(error), name);
  }
  segment->used_now();
  return segment;
}

std::shared_ptr<Segment> Segment::open(int folder, std::uint64_t number, std::string& why) {
  const std::string name = segment_name(number);
  const int fd = ::openat(folder, name.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) {
    why = errno == ELOOP ? "is a symbolic link" : std::strerror(errno);
    return nullptr;
  }
  std::shared_ptr<Segment> segment(new Segment(fd, number));
  struct stat status{};
  if (::fstat(fd, &status) != 0) throw Error(ErrorKind::io, std::string("no status: ") + std::strerror(errno), name);
  if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid() || status.st_nlink != 1) {
    why = "is not a file of this user alone";
    return nullptr;
  }
  segment->bytes_ = static_cast<std::uint64_t>(status.st_size);
  segment->last_used_ns_ = segment->told_ns_ = nanoseconds(status.st_mtim);
  return segment;
}

Segment::~Segment() { ::close(fd_); }

void Segment::used_now() noexcept {
  constexpr std::int64_t rarely_ns = 5'000'000'000;
  const std::int64_t now =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  last_used_ns_ = now;
  if (now - told_ns_ < rarely_ns && now >= told_ns_) return;
  told_ns_ = now;
  ::futimens(fd_, nullptr);
}

void Segment::cut(std::uint64_t bytes) {
  if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0)
    throw Error(ErrorKind::io, std::string("cannot be cut: ") + std::strerror(errno), segment_name(number_));
  bytes_ = bytes;
}

std::optional<std::uint64_t> Segment::append(std::span<const std::byte> record) noexcept {
  const std::uint64_t offset = bytes_;
  if (write_all(fd_, record, offset)) {
    bytes_ = offset + record.size();
    return offset;
  }
  const int error = errno;
  // What is left behind the end is cut off at the next start, where it cannot be now; and written over before that.
  if (::ftruncate(fd_, static_cast<off_t>(offset)) != 0) errno = error;
  errno = error;
  return std::nullopt;
}

bool Segment::read(std::uint64_t offset, std::span<std::byte> bytes) const noexcept {
  return read_some(fd_, bytes, offset) == static_cast<ssize_t>(bytes.size());
}

}  // namespace moebox
