// Limits on sizes that files state: far above any real model; a file that says more lies.
#pragma once

namespace moebox {

inline constexpr int max_dimension = 1 << 20;
inline constexpr int max_layers = 1024;
inline constexpr int max_vocabulary = 1 << 24;

}  // namespace moebox
