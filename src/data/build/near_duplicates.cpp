#include "data/build/near_duplicates.h"

#include <algorithm>
#include <functional>

#include "data/build/words.h"
#include "data/random.h"

namespace moebox::data {
namespace {

// Documents of one band that are looked at: boilerplate brings thousands together.
constexpr int most_candidates = 100;

struct HashFamily {
  std::array<std::uint64_t, MinHash::n_hashes> factors, summands;
};

/// Multiply and shift (Dietzfelbinger 1996): the upper half of factor * x + summand.
constexpr HashFamily make_family() {
  HashFamily family{};
  for (std::size_t i = 0; i < MinHash::n_hashes; ++i) {
    family.factors[i] = mix(i, 1) | 1;
    family.summands[i] = mix(i, 2);
  }
  return family;
}
constexpr HashFamily family = make_family();

/// FNV-1a: the same on every machine and library, for signatures decide what is kept.
std::uint64_t hash_word(std::string_view word) noexcept {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : word) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

std::uint64_t band_key(const MinHash::Signature& signature, std::size_t band) noexcept {
  std::uint64_t key = band;
  for (std::size_t row = 0; row < MinHash::n_rows; ++row) key = mix(key ^ signature[band * MinHash::n_rows + row]);
  return key;
}

}  // namespace

MinHash::Signature MinHash::signature(std::string_view text) {
  const auto words = words_of(text);
  std::vector<std::uint64_t> hashes;
  hashes.reserve(words.size());
  for (const std::string_view word : words) hashes.push_back(hash_word(word));
  Signature least;
  least.fill(~std::uint32_t{0});
  const std::size_t length = std::min(phrase_words, std::max<std::size_t>(words.size(), 1));
  for (std::size_t i = 0; i + length <= words.size(); ++i) {
    std::uint64_t phrase = 0;
    for (std::size_t k = i; k < i + length; ++k) phrase = mix(phrase ^ hashes[k]);
    for (std::size_t h = 0; h < n_hashes; ++h)
      least[h] =
          std::min(least[h], static_cast<std::uint32_t>((family.factors[h] * phrase + family.summands[h]) >> 32));
  }
  return least;
}

double MinHash::similarity(const Signature& a, const Signature& b) noexcept {
  std::size_t equal = 0;
  for (std::size_t i = 0; i < n_hashes; ++i) equal += a[i] == b[i];
  return static_cast<double>(equal) / n_hashes;
}

bool NearDuplicates::add(const MinHash::Signature& signature) {
  std::array<std::uint64_t, MinHash::n_bands> keys;
  for (std::size_t band = 0; band < MinHash::n_bands; ++band) {
    keys[band] = band_key(signature, band);
    const auto [first, last] = bands_[band].equal_range(keys[band]);
    int looked_at = 0;
    for (auto found = first; found != last && looked_at < most_candidates; ++found, ++looked_at)
      if (MinHash::similarity(signatures_[found->second], signature) >= similarity_) return false;
  }
  const auto number = static_cast<std::uint32_t>(signatures_.size());
  signatures_.push_back(signature);
  for (std::size_t band = 0; band < MinHash::n_bands; ++band) bands_[band].emplace(keys[band], number);
  return true;
}

}  // namespace moebox::data
