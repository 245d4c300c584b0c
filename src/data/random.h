// Reproducible randomness: everything is a function of a seed and of what it is for. No state, no library's choice.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <utility>

namespace moebox::data {

/// The finaliser of SplitMix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators").
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}
template <class... More>
constexpr std::uint64_t mix(std::uint64_t x, std::uint64_t y, More... more) noexcept {
  return mix(mix(x) ^ y, more...);
}

/// 0 .. n - 1, evenly (Lemire's multiplication; the bias is n / 2^64).
constexpr std::uint64_t below(std::uint64_t random, std::uint64_t n) noexcept {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(random) * n >> 64);
}

/// An order of 0 .. n - 1 that needs no memory: a Feistel network over the next power of four, walked until the result
/// is below n (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
class Permutation {
 public:
  constexpr Permutation(std::uint64_t n, std::uint64_t key) noexcept
      : n_(n), key_(key), half_bits_(n <= 4 ? 1 : (std::bit_width(n - 1) + 1) / 2) {}

  constexpr std::uint64_t operator()(std::uint64_t i) const noexcept {
    do {
      i = turn(i);
    } while (i >= n_);
    return i;
  }

 private:
  constexpr std::uint64_t turn(std::uint64_t i) const noexcept {
    const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
    std::uint64_t left = i >> half_bits_, right = i & mask;
    for (std::uint64_t round = 0; round < 6; ++round) {
      left ^= mix(key_, round, right) & mask;
      std::swap(left, right);
    }
    return left << half_bits_ | right;
  }

  std::uint64_t n_, key_;
  int half_bits_;
};

/// Fisher and Yates.
template <class T>
void shuffle(std::span<T> items, std::uint64_t key) noexcept {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(mix(key, i), i)]);
}

}  // namespace moebox::data
