// Any bytes as a file of the KV store: what is found lies inside, and only a block that was written is ever used.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "base/xxh64.h"
#include "kv_store/segment.h"

namespace moebox {
namespace {

using Bytes = std::vector<std::byte>;

/// The first byte of an input says what becomes of the others.
enum Mode : unsigned {
  with_key = 1,      // the store is encrypted
  damage = 2,        // they are edits to a file that was written; otherwise they are the file
  mend_segment = 4,  // its magic, identity and checksum are made right: mutations do not find these
  mend_records = 8,
  mend_bodies = 16,
};
constexpr std::size_t n_blocks = 2, content_bytes = 100, largest_file = std::size_t{1} << 20;

void check(bool is_right) {
  if (!is_right) std::abort();
}

const StoreSecrets& secrets(unsigned mode) {
  static const std::array<std::byte, StoreSecrets::salt_bytes> salt{};
  static const StoreSecrets plain(salt, ""), keyed(salt, "the key of this target");
  return (mode & with_key) != 0 ? keyed : plain;
}

template <class T>
T value_at(const Bytes& file, std::size_t offset) {
  T value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

template <class T>
void put(Bytes& file, std::size_t offset, const T& value) {
  std::memcpy(file.data() + offset, &value, sizeof value);
}

template <class T>
std::uint64_t checksum_of(const T& header) {
  return xxh64(std::as_bytes(std::span(&header, 1)).first(offsetof(T, checksum)));
}

void set_segment_header(Bytes& file, unsigned mode) {
  auto header = value_at<SegmentHeader>(file, 0);
  header.magic = SegmentHeader::magic_value;
  header.format_version = 1;
  header.secrets_id = secrets(mode).id();
  header.checksum = checksum_of(header);
  put(file, 0, header);
}

void mend(Bytes& file, unsigned mode) {
  if (file.size() < sizeof(SegmentHeader)) return;
  if ((mode & mend_segment) != 0) set_segment_header(file, mode);
  std::size_t at = sizeof(SegmentHeader);
  while (file.size() - at >= sizeof(RecordHeader)) {
    auto header = value_at<RecordHeader>(file, at);
    const std::size_t room = file.size() - at - sizeof header;
    if (header.body_bytes <= room && (mode & mend_bodies) != 0)
      header.body_checksum = xxh64(std::span(file).subspan(at + sizeof header, header.body_bytes));
    if ((mode & mend_records) != 0) {
      header.magic = RecordHeader::magic_value;
      header.sealed &= 1;
      header.reserved = 0;
      header.checksum = checksum_of(header);
    }
    put(file, at, header);
    if (header.body_bytes > room) return;
    at += sizeof header + static_cast<std::size_t>(header.body_bytes);
  }
}

struct Block {
  std::array<TokenId, kv_block_tokens> tokens{};
  Bytes content = Bytes(content_bytes);
  BlockName name, parent;
  StoredBlock stored() const { return {name, parent, kv_block_tokens, tokens}; }
};

/// The same blocks for all inputs.
std::vector<Block> blocks_of(unsigned mode) {
  std::vector<Block> blocks(n_blocks);
  for (std::size_t i = 0; i < n_blocks; ++i) {
    for (std::size_t k = 0; k < kv_block_tokens; ++k) blocks[i].tokens[k] = static_cast<TokenId>(i * 1000 + k);
    for (std::size_t k = 0; k < content_bytes; ++k) blocks[i].content[k] = static_cast<std::byte>(i + k);
    if (i > 0) blocks[i].parent = blocks[i - 1].name;
    blocks[i].name = secrets(mode).digest({blocks[i].parent.bytes, std::as_bytes(std::span(blocks[i].tokens))});
  }
  return blocks;
}

/// Those of `blocks` in a file, changed: each edit is an offset of two bytes and what it is xored with; the last of an
/// odd number of bytes cuts the file there.
Bytes damaged_file(std::span<const std::byte> edits, const std::vector<Block>& blocks, unsigned mode) {
  Bytes file(sizeof(SegmentHeader)), record;
  set_segment_header(file, mode);
  for (const Block& block : blocks) {
    write_record(secrets(mode), block.stored(), block.content, record);
    file.insert(file.end(), record.begin(), record.end());
  }
  for (; edits.size() >= 3; edits = edits.subspan(3)) {
    const std::size_t offset = std::to_integer<std::size_t>(edits[0]) << 8 | std::to_integer<std::size_t>(edits[1]);
    file[offset % file.size()] ^= edits[2];
  }
  if (edits.size() == 1) file.resize(file.size() * std::to_integer<std::size_t>(edits[0]) / 256);
  return file;
}

SegmentContent scan(const Bytes& file, unsigned mode, std::size_t most_records) {
  static const int fd = ::memfd_create("moebox-fuzz", MFD_CLOEXEC);
  check(fd >= 0 && ::ftruncate(fd, 0) == 0 &&
        ::pwrite(fd, file.data(), file.size(), 0) == static_cast<ssize_t>(file.size()));
  const SegmentContent content = scan_segment(fd, file.size(), secrets(mode), most_records);
  check(content.end <= file.size() && content.records.size() <= most_records);
  std::uint64_t end = sizeof(SegmentHeader);
  for (const RecordPlace& place : content.records) {
    check(place.offset == end && place.bytes >= sizeof(RecordHeader) && place.bytes <= content.end - place.offset);
    end += place.bytes;
  }
  check(content.end == 0 ? content.records.empty() : content.end == end);
  return content;
}

/// Opens a record as the block that it says it is, or, where that is not to be seen, as one of `blocks`.
void open(Bytes record, const std::vector<Block>& blocks, unsigned mode) {
  const auto header = value_at<RecordHeader>(record, 0);
  std::size_t wanted_bytes = content_bytes;
  Block block = blocks.front();
  for (const Block& written : blocks)
    if (written.name == header.name) block = written;
  StoredBlock wanted = block.stored();
  if ((mode & (damage | with_key)) == 0 && record.size() >= sizeof header + sizeof(RecordBody)) {
    const auto body = value_at<RecordBody>(record, sizeof header);
    block.tokens = body.tokens;
    wanted = {header.name, body.parent, body.n_prompt, block.tokens};
    wanted_bytes = record.size() - sizeof header - sizeof body;
  }
  Bytes copy = record;
  if (const auto content = open_record(secrets(mode), copy, wanted, wanted_bytes)) {
    check(content->size() == wanted_bytes && content->data() >= copy.data() &&
          content->data() + content->size() <= copy.data() + copy.size());
    if ((mode & (damage | with_key)) != 0) check(std::ranges::equal(*content, block.content));
  }
  for (const std::size_t other_bytes : {std::size_t{0}, wanted_bytes + 1, ~std::size_t{0}}) {
    copy = record;
    if (other_bytes != wanted_bytes) check(!open_record(secrets(mode), copy, wanted, other_bytes));
  }
  block.tokens[0] ^= 1;
  wanted.tokens = block.tokens;
  copy = record;
  check(!open_record(secrets(mode), copy, wanted, wanted_bytes));
}

void run(unsigned mode, std::span<const std::byte> input) {
  const std::vector<Block> blocks = blocks_of(mode);
  Bytes file(input.begin(), input.end());
  if ((mode & damage) != 0) file = damaged_file(input, blocks, mode);
  mend(file, mode & ~((mode & damage) != 0 ? unsigned{mend_bodies} : 0u));
  const SegmentContent content = scan(file, mode, ~std::size_t{0});
  check(scan(file, mode, 1).records.size() == std::min<std::size_t>(content.records.size(), 1));
  for (const RecordPlace& place : content.records) {
    const auto begin = file.begin() + static_cast<std::ptrdiff_t>(place.offset);
    open(Bytes(begin, begin + static_cast<std::ptrdiff_t>(place.bytes)), blocks, mode);
  }
}

}  // namespace
}  // namespace moebox

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > moebox::largest_file) return 0;
  moebox::run(data[0], std::as_bytes(std::span(data, size)).subspan(1));
  return 0;
}
