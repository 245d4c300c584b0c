// One block in a file of the KV store: a header that can be checked by itself, and a body. What is read is compared
// with what is wanted: nothing in it is believed.
//
//   header  96 bytes: RecordHeader
//   body    RecordBody (tokens and all), the block's bytes; encrypted, with a tag of 16 bytes behind, when there is a
//   key
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kv_store/secrets.h"

namespace moebox {

/// Little-endian, as all numbers here.
struct RecordHeader {
  static constexpr std::uint32_t magic_value = 0x424b584d;  // "MXKB"

  std::uint32_t magic = magic_value;
  std::uint32_t sealed = 0;
  std::uint64_t body_bytes = 0;
  BlockName name;
  std::array<std::byte, StoreSecrets::nonce_bytes> nonce{};
  std::uint64_t body_checksum = 0;  // XXH64 of the body as it lies in the file
  std::uint64_t checksum = 0;       // XXH64 of the fields above
  std::uint64_t reserved = 0;
};

/// The beginning of the body.
struct RecordBody {
  BlockName parent;
  std::int32_t n_prompt = 0;
  std::int32_t n_tokens = kv_block_tokens;
  std::array<TokenId, kv_block_tokens> tokens{};
};

/// Of the body of a block of so many bytes.
std::size_t record_body_bytes(std::size_t content_bytes, bool sealed) noexcept;
/// Whether it is the header of a record that this program writes.
bool holds(const RecordHeader& header) noexcept;

/// The whole record into `out`.
void write_record(const StoreSecrets& secrets, const StoredBlock& block, std::span<const std::byte> content,
                  std::vector<std::byte>& out);
/// The block's bytes within `record`, which is decrypted in place; nothing when it is not, whole and unharmed, the
/// block that is wanted.
std::optional<std::span<const std::byte>> open_record(const StoreSecrets& secrets, std::span<std::byte> record,
                                                      const StoredBlock& wanted, std::size_t content_bytes) noexcept;

}  // namespace moebox
