// What of F's arguments belongs to the program and the machine (docs/determinism.md): the numerics version and the C
// library.
#pragma once

#include <array>
#include <cstddef>

namespace moebox {

/// BLAKE2b-256 of this program's file, the C library's version and the processor's features: results of two that are
/// equal here are equal in every bit. Throws Error(io) when the program's file cannot be read.
std::array<std::byte, 32> numerics_digest();

}  // namespace moebox
