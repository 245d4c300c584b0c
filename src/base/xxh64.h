// XXH64, a fast checksum of 64 bits (Yann Collet's specification "XXH Fast Digest Algorithm"). It finds accidents, not
// attackers: digests that must stand up to those are SHA-256 (hub/digest.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace moebox {

std::uint64_t xxh64(std::span<const std::byte> bytes, std::uint64_t seed = 0) noexcept;

}  // namespace moebox
