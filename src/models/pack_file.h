// The file format of packed weights. Nothing in it is trusted: all that can be computed from the model (places, sizes,
// types) is computed and compared, and every byte is checked against a checksum before it is used.
//
//   header     4096 bytes: PackHeader, zeros
//   data       the sections of a WeightPlan, as they lie in memory
//   checksums  XXH64 of each block of each section, then XXH64 of the header and of these
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "io/mapped_file.h"
#include "models/weight_plan.h"

namespace moebox {

class Checkpoint;
class ThreadTeam;

/// The first bytes of the file; little-endian.
struct PackHeader {
  static constexpr std::uint64_t magic_value = 0x4b434150584f424d;  // "MBOXPACK"
  static constexpr std::size_t room_bytes = section_alignment;

  std::uint64_t magic = magic_value;
  std::uint64_t format_version = 1;      // of this file
  std::uint64_t layout_version = 0;      // kernels/layout.h
  std::uint64_t conversion_version = 0;  // models/stored_matrix.h
  std::uint64_t source_bytes = 0;        // of all of the model's files
  std::uint64_t source_identity = 0;     // Checkpoint::identity()
  std::uint64_t plan_digest = 0;         // what lies where
  std::uint64_t data_bytes = 0;
  std::uint64_t n_blocks = 0;  // checksums
  std::uint64_t file_bytes = 0;
  std::uint64_t digest = 0;  // of the fields above

  bool operator==(const PackHeader&) const = default;
};

/// The header that the file of this model must have.
PackHeader make_pack_header(const Checkpoint& checkpoint, const WeightPlan& plan);
/// Why `found` is not `expected`, in words; empty when it is.
std::string pack_header_difference(const PackHeader& found, const PackHeader& expected);

/// A pack file that is open. Its header and its checksums hold; its data is to be checked as it is read.
class PackFile {
 public:
  /// Throws Error: not_found when there is none, invalid_file or io that says why it is not to be used.
  static PackFile open(const std::filesystem::path& path, const PackHeader& expected, const Checkpoint& checkpoint);
  ~PackFile();
  PackFile(PackFile&& other) noexcept;
  PackFile& operator=(PackFile&& other) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  int descriptor() const noexcept { return fd_; }
  static constexpr std::uint64_t data_offset = PackHeader::room_bytes;

  /// The whole file; data begins at data_offset.
  MappedFile map() const { return MappedFile(fd_, path_); }
  /// Whether `bytes`, from a multiple of checksum_block_bytes within a section on, are those that were written.
  bool holds(const WeightSection& section, std::size_t first_block, std::span<const std::byte> bytes) const noexcept;
  /// The same for the sections of `plan` for which `wanted` holds, all of whose data is at `data`; shared among the
  /// team. Throws Error(invalid_file).
  void check(const WeightPlan& plan, const std::byte* data, ThreadTeam& team,
             const std::function<bool(const WeightSection&)>& wanted) const;

 private:
  PackFile(int fd, std::filesystem::path path) : path_(std::move(path)), fd_(fd) {}

  std::filesystem::path path_;
  int fd_ = -1;
  std::vector<std::uint64_t> checksums_;  // (n_blocks)
};

/// Packs section after section into a new file, which appears when it is whole. Replaces what is at `path`. Throws
/// Error: io, or cancelled when `progress` says false.
void write_pack(const std::filesystem::path& path, const PackHeader& header, const WeightPlan& plan,
                const Checkpoint& checkpoint, ThreadTeam& team,
                const std::function<bool(std::uint64_t done, std::uint64_t total)>& progress);

}  // namespace moebox
