// Learns the merges of a byte-level BPE from words and how often they occur. The result is that of Hugging Face
// tokenizers' BpeTrainer (0.23) with ByteLevel's alphabet: the most frequent pair first, of equally frequent ones that
// of the lower ids; which counts change by a merge, and which stay, is as there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace moebox::data {

/// Words (their bytes) and how often each occurs.
class WordCounts {
 public:
  void add(std::string_view word, std::uint64_t count = 1);
  void merge(const WordCounts& other);
  std::size_t size() const noexcept { return counts_.size(); }
  const auto& counts() const noexcept { return counts_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, std::uint64_t, Hash, std::equal_to<>> counts_;
};

struct BpeTrainerOptions {
  std::size_t vocabulary_size = 0;
  std::uint64_t min_frequency = 0;
  std::vector<std::string> special_tokens = {};  // they get the first ids
  /// Gets the tokens there are, now and then; false ends the work with Error(cancelled).
  std::function<bool(std::size_t)> progress = {};
};

struct TrainedBpe {
  std::vector<std::string> tokens;                              // by id, bytes spelled by GPT-2's byte map
  std::vector<std::pair<std::uint32_t, std::uint32_t>> merges;  // by rank: ids of left and right
};

/// Throws Error(invalid_argument) when the vocabulary has no room for bytes and special tokens.
TrainedBpe train_bpe(const WordCounts& words, const BpeTrainerOptions& options);

}  // namespace moebox::data
