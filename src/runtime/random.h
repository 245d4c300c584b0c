// Random numbers as a function: (seed, choice, position) -> number. Nothing is remembered, so a sequence can be
// computed again.
#pragma once

#include <array>
#include <cstdint>

namespace moebox {

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) noexcept;

/// Uniform in [0, 1), 53 bits.
double uniform(std::uint64_t seed, std::uint32_t choice, std::uint32_t position) noexcept;

/// A seed from the system, for requests that bring none.
std::uint64_t fresh_seed();

}  // namespace moebox
