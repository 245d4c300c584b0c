#include "models/pack_file.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/anonymous_memory.h"
#include "base/checked.h"
#include "base/thread_team.h"
#include "base/xxh64.h"
#include "io/checkpoint.h"
#include "io/output_file.h"
#include "kernels/layout.h"

namespace moebox {
namespace {

static_assert(sizeof(PackHeader) == 11 * sizeof(std::uint64_t) && sizeof(PackHeader) <= PackHeader::room_bytes);

std::uint64_t digest_of(const PackHeader& header) {
  return xxh64(std::as_bytes(std::span(&header, 1)).first(offsetof(PackHeader, digest)));
}

std::uint64_t table_digest(const PackHeader& header, std::span<const std::uint64_t> checksums) {
  return xxh64(std::as_bytes(checksums), header.digest);
}

[[noreturn]] void throw_io(int error, const std::string& what, const std::filesystem::path& path) {
  throw Error(error == ENOENT || error == ENOTDIR ? ErrorKind::not_found : ErrorKind::io,
              what + ": " + std::strerror(error), path.string());
}

[[noreturn]] void throw_unusable(std::string what, const std::filesystem::path& path) {
  throw Error(ErrorKind::invalid_file, std::move(what), path.string(), "'moebox pack' makes it anew");
}

/// All of `bytes`, from `offset` on. Throws Error(io).
void read_all(int fd, std::span<std::byte> bytes, std::uint64_t offset, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_io(errno, "cannot be read", path);
    if (n == 0) throw_unusable("the file is shorter than it was", path);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
}

uid_t file_owner(const std::filesystem::path& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 ? status.st_uid : 0;
}

}  // namespace

PackHeader make_pack_header(const Checkpoint& checkpoint, const WeightPlan& plan) {
  PackHeader header;
  header.layout_version = layout::version;
  header.conversion_version = conversion_version;
  header.source_bytes = checkpoint.file_bytes();
  header.source_identity = checkpoint.identity();
  header.plan_digest = plan.digest();
  header.data_bytes = plan.total_bytes();
  header.n_blocks = plan.n_blocks();
  const std::uint64_t table_bytes = (header.n_blocks + 1) * sizeof(std::uint64_t);
  header.file_bytes = checked_add(checked_add<std::uint64_t>(PackHeader::room_bytes, header.data_bytes), table_bytes);
  header.digest = digest_of(header);
  return header;
}

std::string pack_header_difference(const PackHeader& found, const PackHeader& expected) {
  if (found == expected) return "";
  if (found.magic != expected.magic) return "is not a pack file";
  const auto version = [](const char* what, std::uint64_t is, std::uint64_t should) {
    return std::string(what) + " has version " + std::to_string(is) + ", expected " + std::to_string(should);
  };
  if (found.format_version != expected.format_version)
    return version("the file's format", found.format_version, expected.format_version);
  if (found.digest != digest_of(found)) return "the header is damaged";
  if (found.layout_version != expected.layout_version)
    return version("the packed layout", found.layout_version, expected.layout_version);
  if (found.conversion_version != expected.conversion_version)
    return version("the conversion", found.conversion_version, expected.conversion_version);
  if (found.source_bytes != expected.source_bytes || found.source_identity != expected.source_identity)
    return "the model's files have changed since it was made, or it was made from others";
  return "it holds other matrices than this program packs";
}

PackFile PackFile::open(const std::filesystem::path& path, const PackHeader& expected, const Checkpoint& checkpoint) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw_io(errno, "cannot be opened", path);
  PackFile file(fd, path);
  struct stat status{};
  if (::fstat(fd, &status) != 0) throw_io(errno, "its status cannot be read", path);
  if (!S_ISREG(status.st_mode)) throw_unusable("is not a regular file", path);
  if (status.st_uid != 0 && status.st_uid != ::geteuid() &&
      (checkpoint.files().empty() || status.st_uid != file_owner(checkpoint.files().front())))
    throw_unusable("belongs to another user than the model", path);
  if (static_cast<std::uint64_t>(status.st_size) < sizeof(PackHeader)) throw_unusable("is too short", path);
  PackHeader found;
  read_all(fd, std::as_writable_bytes(std::span(&found, 1)), 0, path);
  if (std::string difference = pack_header_difference(found, expected); !difference.empty())
    throw_unusable(std::move(difference), path);
  if (static_cast<std::uint64_t>(status.st_size) != expected.file_bytes)
    throw_unusable("has " + std::to_string(status.st_size) + " bytes, expected " + std::to_string(expected.file_bytes),
                   path);
  file.checksums_.resize(static_cast<std::size_t>(expected.n_blocks) + 1);
  read_all(fd, std::as_writable_bytes(std::span(file.checksums_)), data_offset + expected.data_bytes, path);
  const std::uint64_t digest = file.checksums_.back();
  file.checksums_.pop_back();
  if (digest != table_digest(expected, file.checksums_)) throw_unusable("its checksums are damaged", path);
  return file;
}

PackFile::~PackFile() {
  if (fd_ >= 0) ::close(fd_);
}

PackFile::PackFile(PackFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), checksums_(std::move(other.checksums_)) {}

bool PackFile::holds(const WeightSection& section, std::size_t first_block,
                     std::span<const std::byte> bytes) const noexcept {
  for (std::size_t block = section.first_block + first_block; !bytes.empty(); ++block) {
    const std::size_t n = std::min(bytes.size(), checksum_block_bytes);
    if (xxh64(bytes.first(n)) != checksums_[block]) return false;
    bytes = bytes.subspan(n);
  }
  return true;
}

void PackFile::check(const WeightPlan& plan, const std::byte* data, ThreadTeam& team,
                     const std::function<bool(const WeightSection&)>& wanted) const {
  struct Block {
    const WeightSection* section;
    std::size_t index;
  };
  std::vector<Block> blocks;
  for (const WeightSection& section : plan.sections())
    if (wanted(section))
      for (std::size_t i = 0; i < n_checksum_blocks(section.bytes); ++i) blocks.push_back({&section, i});
  std::atomic<std::size_t> next{0};
  std::atomic<const WeightSection*> damaged{nullptr};
  team.run([&](const TeamMember&) {
    for (std::size_t i = next++; i < blocks.size() && damaged == nullptr; i = next++) {
      const WeightSection& section = *blocks[i].section;
      const std::size_t begin = blocks[i].index * checksum_block_bytes;
      const std::span bytes(data + section.offset + begin, std::min(checksum_block_bytes, section.bytes - begin));
      if (!holds(section, blocks[i].index, bytes)) damaged = &section;
    }
  });
  if (const WeightSection* section = damaged)
    throw_unusable("is damaged near " + plan.matrices(*section).front().stored.view.name, path_);
}

void write_pack(const std::filesystem::path& path, const PackHeader& header, const WeightPlan& plan,
                const Checkpoint& checkpoint, ThreadTeam& team,
                const std::function<bool(std::uint64_t done, std::uint64_t total)>& progress) {
  OutputFile out(path, true);
  out.reserve(header.file_bytes);
  std::size_t largest = PackHeader::room_bytes;
  for (const WeightSection& section : plan.sections()) largest = std::max(largest, section.bytes);
  AnonymousMemory memory(checked_align(largest, section_alignment), "packing", true);
  const std::span buffer(memory.data(), memory.size());

  std::memcpy(buffer.data(), &header, sizeof header);
  out.write(buffer.first(PackHeader::room_bytes));
  std::vector<std::uint64_t> checksums(static_cast<std::size_t>(header.n_blocks));
  const auto tell = [&](std::uint64_t done) {
    if (progress && !progress(done, plan.total_bytes()))
      throw Error(ErrorKind::cancelled, "packing was stopped", path.string());
  };
  for (const WeightSection& section : plan.sections()) {
    tell(section.offset);
    const std::size_t end = checked_align(section.offset + section.bytes, section_alignment);
    const std::span content = buffer.first(end - section.offset);
    std::memset(content.data(), 0, content.size());
    for (const PlannedMatrix& matrix : plan.matrices(section)) {
      matrix.stored.pack(*matrix.target, buffer.data() + (matrix.offset - section.offset), team);
      checkpoint.release(matrix.stored.view);
    }
    team.run([&](const TeamMember& member) {
      const auto part = member.part(static_cast<int>(n_checksum_blocks(section.bytes)));
      for (int i = part.first; i < part.last; ++i) {
        const std::size_t begin = static_cast<std::size_t>(i) * checksum_block_bytes;
        checksums[section.first_block + static_cast<std::size_t>(i)] =
            xxh64(content.first(section.bytes).subspan(begin, std::min(checksum_block_bytes, section.bytes - begin)));
      }
    });
    out.write(content);
  }
  const std::vector<std::byte> rest(
      static_cast<std::size_t>(PackFile::data_offset + header.data_bytes - out.written_bytes()));
  out.write(rest);
  out.write(std::as_bytes(std::span(checksums)));
  const std::uint64_t digest = table_digest(header, checksums);
  out.write(std::as_bytes(std::span(&digest, 1)));
  tell(plan.total_bytes());
  out.commit();
}

}  // namespace moebox
