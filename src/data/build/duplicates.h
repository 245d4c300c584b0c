// Documents that came before: equal ones by a digest. Near ones are found in near_duplicates.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "data/digest.h"

namespace moebox::data {

/// 16 bytes of BLAKE2b: two different texts among a billion get the same with a probability of 10^-21.
struct TextKey {
  std::uint64_t low = 0, high = 0;
  bool operator==(const TextKey&) const = default;
};

/// Of a text as it is, or of what a caller has put together.
TextKey text_key(std::string_view text) noexcept;

class SeenTexts {
 public:
  /// Whether this is the first of its kind.
  bool add(const TextKey& key) { return keys_.insert(key).second; }

 private:
  struct Hash {
    std::size_t operator()(const TextKey& key) const noexcept { return key.low; }
  };
  std::unordered_set<TextKey, Hash> keys_;
};

}  // namespace moebox::data
