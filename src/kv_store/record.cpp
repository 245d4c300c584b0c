#include "kv_store/record.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/xxh64.h"

namespace moebox {
namespace {

static_assert(std::endian::native == std::endian::little);
static_assert(sizeof(RecordHeader) == 96 && sizeof(RecordBody) == 40 + kv_block_tokens * sizeof(TokenId));

std::uint64_t checksum_of(const RecordHeader& header) noexcept {
  return xxh64(std::as_bytes(std::span(&header, 1)).first(offsetof(RecordHeader, checksum)));
}

/// What encryption binds the body to.
std::span<const std::byte> associated(const RecordHeader& header) noexcept {
  return std::as_bytes(std::span(&header, 1)).first(offsetof(RecordHeader, nonce));
}

bool is_wanted(const RecordBody& body, const StoredBlock& wanted) noexcept {
  return body.parent == wanted.parent && body.n_prompt == wanted.n_prompt && body.n_tokens == kv_block_tokens &&
         std::equal(body.tokens.begin(), body.tokens.end(), wanted.tokens.begin(), wanted.tokens.end());
}

}  // namespace

std::size_t record_body_bytes(std::size_t content_bytes, bool sealed) noexcept {
  return sizeof(RecordBody) + content_bytes + (sealed ? StoreSecrets::tag_bytes : 0);
}

bool holds(const RecordHeader& header) noexcept {
  return header.magic == RecordHeader::magic_value && header.sealed <= 1 &&
         header.body_bytes >= record_body_bytes(0, header.sealed == 1) && header.reserved == 0 &&
         header.checksum == checksum_of(header);
}

void write_record(const StoreSecrets& secrets, const StoredBlock& block, std::span<const std::byte> content,
                  std::vector<std::byte>& out) {
  const bool sealed = secrets.seals();
  RecordHeader header;
  header.sealed = sealed ? 1 : 0;
  header.body_bytes = record_body_bytes(content.size(), sealed);
  header.name = block.name;
  RecordBody body;
  body.parent = block.parent;
  body.n_prompt = block.n_prompt;
  std::copy(block.tokens.begin(), block.tokens.end(), body.tokens.begin());
  out.resize(sizeof header + static_cast<std::size_t>(header.body_bytes));
  const std::span whole(out), rest = whole.subspan(sizeof header);
  std::memcpy(rest.data(), &body, sizeof body);
  std::memcpy(rest.data() + sizeof body, content.data(), content.size());
  if (sealed) secrets.seal(rest, associated(header), header.nonce);
  header.body_checksum = xxh64(rest);
  header.checksum = checksum_of(header);
  std::memcpy(whole.data(), &header, sizeof header);
}

std::optional<std::span<const std::byte>> open_record(const StoreSecrets& secrets, std::span<std::byte> record,
                                                      const StoredBlock& wanted, std::size_t content_bytes) noexcept {
  RecordHeader header;
  if (record.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, record.data(), sizeof header);
  const std::span body = record.subspan(sizeof header);
  // With a key only what was encrypted with it counts: a record in the clear may be anybody's.
  if (!holds(header) || header.name != wanted.name || (header.sealed == 1) != secrets.seals() ||
      header.body_bytes != body.size() || body.size() != record_body_bytes(content_bytes, secrets.seals()) ||
      header.body_checksum != xxh64(body))
    return std::nullopt;
  if (secrets.seals() && !secrets.open(body, associated(header), header.nonce)) return std::nullopt;
  RecordBody begin;
  std::memcpy(&begin, body.data(), sizeof begin);
  if (!is_wanted(begin, wanted)) return std::nullopt;
  return body.subspan(sizeof begin, content_bytes);
}

}  // namespace moebox
