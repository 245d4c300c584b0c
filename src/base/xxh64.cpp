#include "base/xxh64.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace moebox {

std::uint64_t xxh64(std::span<const std::byte> bytes, std::uint64_t seed) noexcept {
  return XXH64(bytes.data(), bytes.size(), seed);
}

}  // namespace moebox
