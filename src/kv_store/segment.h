// One file of the KV store: records one behind the other. It is only ever appended to; what a killed process left
// half written at its end is cut off.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kv_store/record.h"

namespace moebox {

struct SegmentHeader {
  static constexpr std::uint64_t magic_value = 0x544745535658424d;  // "MBXVSEGT"

  std::uint64_t magic = magic_value;
  std::uint64_t format_version = 1;
  std::uint64_t number = 0;
  std::array<std::byte, StoreSecrets::id_bytes> secrets_id{};
  std::uint64_t reserved[2] = {};
  std::uint64_t checksum = 0;  // XXH64 of the fields above
};

/// Where a record lies in its segment.
struct RecordPlace {
  BlockName name;
  std::uint64_t offset = 0, bytes = 0;
};

/// What a file holds, by its headers.
struct SegmentContent {
  std::vector<RecordPlace> records;
  std::uint64_t end = 0;  // behind the last whole record; 0: the file is no segment of these keys
};

/// Reads headers only. At most `most_records` are told. Throws Error(io) when the file cannot be read.
SegmentContent scan_segment(int fd, std::uint64_t file_bytes, const StoreSecrets& secrets, std::size_t most_records);

/// Of a file's name, or nothing when it is no segment's.
std::optional<std::uint64_t> segment_number(const std::string& name);
std::string segment_name(std::uint64_t number);

/// Reading is thread safe; appending is one thread's at a time.
class Segment {
 public:
  /// A new file, 0600. Throws Error(io).
  static std::shared_ptr<Segment> create(int folder, std::uint64_t number, const StoreSecrets& secrets);
  /// A file that is there; nothing when it is not a regular file of ours: then `why` says so. Throws Error(io).
  static std::shared_ptr<Segment> open(int folder, std::uint64_t number, std::string& why);
  ~Segment();

  std::uint64_t number() const noexcept { return number_; }
  std::uint64_t bytes() const noexcept { return bytes_; }
  int descriptor() const noexcept { return fd_; }
  /// Nanoseconds since 1970; kept by the file's time of change.
  std::int64_t last_used_ns() const noexcept { return last_used_ns_; }
  void used_now() noexcept;

  /// Cuts the file. Throws Error(io).
  void cut(std::uint64_t bytes);
  /// The record's offset; nothing, and nothing appended, when the system refuses: errno says why.
  std::optional<std::uint64_t> append(std::span<const std::byte> record) noexcept;
  /// False when not all of it could be read.
  bool read(std::uint64_t offset, std::span<std::byte> bytes) const noexcept;

 private:
  Segment(int fd, std::uint64_t number) : fd_(fd), number_(number) {}

  int fd_;
  std::uint64_t number_;
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<std::int64_t> last_used_ns_{0}, told_ns_{0};
};

}  // namespace moebox
