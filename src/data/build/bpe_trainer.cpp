#include "data/build/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <queue>

#include <fmt/core.h>

#include "base/error.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/utf8.h"

namespace moebox::data {
namespace {

using Id = std::uint32_t;
using Pair = std::uint64_t;  // left << 32 | right, so that pairs are ordered as tuples of ids are
using WordIndex = std::uint32_t;

constexpr Pair pair_of(Id left, Id right) noexcept { return Pair{left} << 32 | right; }

/// A word's symbols, in one array for all words; merging makes it shorter in place.
struct Word {
  std::size_t begin;
  std::uint32_t length;
  std::uint64_t count;
};

/// A pair that may be merged: the words that it got into when it was queued, and how often it occurred then.
struct Candidate {
  std::uint64_t count;
  Pair pair;
  std::vector<WordIndex> words;

  /// For a heap of which the top is the most frequent pair, and of those the lowest.
  bool operator<(const Candidate& other) const noexcept {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

struct SpreadHash {
  std::size_t operator()(Pair pair) const noexcept { return static_cast<std::size_t>(pair * 0x9E3779B97F4A7C15u >> 7); }
};

class BpeTraining {
 public:
  explicit BpeTraining(const BpeTrainerOptions& options) : options_(options) {
    for (const std::string& token : options.special_tokens) id_of(token);
    add_alphabet();
    if (result_.tokens.size() > options.vocabulary_size)
      throw Error(ErrorKind::invalid_argument,
                  fmt::format("the vocabulary must hold {} bytes and special tokens, but is of {}",
                              result_.tokens.size(), options.vocabulary_size),
                  "vocabulary");
  }

  TrainedBpe run(const WordCounts& counts) {
    add_words(counts);
    count_pairs();
    while (result_.tokens.size() < options_.vocabulary_size && merge_next()) {
      const std::size_t n_tokens = result_.tokens.size();
      if (n_tokens % 64 == 0 && options_.progress && !options_.progress(n_tokens))
        throw Error(ErrorKind::cancelled, "interrupted");
    }
    return std::move(result_);
  }

 private:
  /// The id of a token, which is made where there is none.
  Id id_of(const std::string& token) {
    const auto [found, is_new] = ids_.try_emplace(token, static_cast<Id>(result_.tokens.size()));
    if (is_new) result_.tokens.push_back(token);
    return found->second;
  }

  /// All bytes, in the order of the characters that spell them.
  void add_alphabet() {
    std::array<unsigned, 256> bytes{};
    std::iota(bytes.begin(), bytes.end(), 0u);
    const auto character = [](unsigned byte) { return byte_level::character(static_cast<unsigned char>(byte)); };
    std::ranges::sort(bytes, {}, character);
    for (const unsigned byte : bytes) {
      std::string spelled;
      utf8::append(spelled, character(byte));
      byte_ids_[byte] = id_of(spelled);
    }
  }

  void add_words(const WordCounts& counts) {
    if (counts.size() > std::numeric_limits<WordIndex>::max())
      throw Error(ErrorKind::resource, "there are more than 2^32 different words", "tokenizer training");
    words_.reserve(counts.size());
    for (const auto& [word, count] : counts.counts()) {
      words_.push_back({symbols_.size(), static_cast<std::uint32_t>(word.size()), count});
      for (const char c : word) symbols_.push_back(byte_ids_[static_cast<unsigned char>(c)]);
    }
  }

  static void add_word(std::vector<WordIndex>& words, WordIndex word) {
    if (words.empty() || words.back() != word) words.push_back(word);
  }

  void count_pairs() {
    std::unordered_map<Pair, std::vector<WordIndex>, SpreadHash> places;
    for (WordIndex index = 0; index < words_.size(); ++index) {
      const Word& word = words_[index];
      for (std::size_t i = word.begin; i + 1 < word.begin + word.length; ++i) {
        const Pair pair = pair_of(symbols_[i], symbols_[i + 1]);
        counts_[pair] += static_cast<std::int64_t>(word.count);
        add_word(places[pair], index);
      }
    }
    queue_pairs(places);
  }

  void queue_pairs(std::unordered_map<Pair, std::vector<WordIndex>, SpreadHash>& places) {
    for (auto& [pair, words] : places)
      if (const std::int64_t count = counts_[pair]; count > 0)
        queue_.push({static_cast<std::uint64_t>(count), pair, std::move(words)});
    places.clear();
  }

  Candidate pop() {
    // The top is about to be removed: to move its words out of it does not disturb the order.
    Candidate top = std::move(const_cast<Candidate&>(queue_.top()));
    queue_.pop();
    return top;
  }

  /// False when there is nothing left to merge.
  bool merge_next() {
    while (!queue_.empty()) {
      Candidate top = pop();
      // Merges of other pairs have taken occurrences away since it was queued.
      const auto count = static_cast<std::uint64_t>(std::max<std::int64_t>(counts_[top.pair], 0));
      if (count != top.count) {
        top.count = count;
        if (count > 0) queue_.push(std::move(top));
        continue;
      }
      if (top.count < 1 || top.count < options_.min_frequency) return false;
      merge(top);
      return true;
    }
    return false;
  }

  void merge(const Candidate& top) {
    const Id left = static_cast<Id>(top.pair >> 32), right = static_cast<Id>(top.pair);
    // Two pairs may spell one token.
    const Id merged = id_of(result_.tokens[left] + result_.tokens[right]);
    result_.merges.emplace_back(left, right);
    for (const WordIndex index : top.words) merge_in_word(index, left, right, merged);
    queue_pairs(places_);
  }

  void change(Pair pair, std::int64_t by, WordIndex word) {
    counts_[pair] += by;
    if (by > 0) add_word(places_[pair], word);
  }

  void merge_in_word(WordIndex index, Id left, Id right, Id merged) {
    Word& word = words_[index];
    Id* const symbols = symbols_.data() + word.begin;
    const auto count = static_cast<std::int64_t>(word.count);
    std::uint32_t written = 0;  // symbols before this are as they will be
    for (std::uint32_t i = 0; i < word.length;) {
      if (symbols[i] != left || i + 1 == word.length || symbols[i + 1] != right) {
        symbols[written++] = symbols[i++];
        continue;
      }
      if (written > 0) {
        change(pair_of(symbols[written - 1], left), -count, index);
        change(pair_of(symbols[written - 1], merged), count, index);
      }
      if (i + 2 < word.length) {
        change(pair_of(right, symbols[i + 2]), -count, index);
        change(pair_of(merged, symbols[i + 2]), count, index);
      }
      symbols[written++] = merged;
      i += 2;
    }
    word.length = written;
  }

  const BpeTrainerOptions& options_;
  TrainedBpe result_;
  std::unordered_map<std::string, Id> ids_;
  std::array<Id, 256> byte_ids_{};
  std::vector<Id> symbols_;
  std::vector<Word> words_;
  std::unordered_map<Pair, std::int64_t, SpreadHash> counts_;
  std::unordered_map<Pair, std::vector<WordIndex>, SpreadHash> places_;  // of pairs that the present merge makes
  std::priority_queue<Candidate> queue_;
};

}  // namespace

void WordCounts::add(std::string_view word, std::uint64_t count) {
  const auto found = counts_.find(word);
  if (found != counts_.end()) {
    found->second += count;
  } else {
    counts_.emplace(word, count);
  }
}

void WordCounts::merge(const WordCounts& other) {
  for (const auto& [word, count] : other.counts_) add(word, count);
}

TrainedBpe train_bpe(const WordCounts& words, const BpeTrainerOptions& options) {
  return BpeTraining(options).run(words);
}

}  // namespace moebox::data
