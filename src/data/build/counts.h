// What became of the documents: kept, or dropped and why. Sums of what threads counted; nothing here depends on order.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

namespace moebox::data {

struct Tally {
  std::int64_t documents = 0, bytes = 0;

  void add(std::int64_t n_bytes) noexcept {
    ++documents;
    bytes += n_bytes;
  }
  Tally& operator+=(const Tally& other) noexcept {
    documents += other.documents;
    bytes += other.bytes;
    return *this;
  }
};

struct Counts {
  Tally read;  // whatever became of them
  Tally kept, held_out;
  std::int64_t tokens = 0;                    // of what was kept, both splits
  std::int64_t learnt_tokens = 0;             // of these, those with a loss
  std::map<std::string, Tally> dropped;       // by reason
  std::map<std::string, std::int64_t> notes;  // what was mended or changed, in documents (or pieces of text)
  std::map<std::string, Tally> languages;     // of what was kept, where languages are looked at
  std::array<std::int64_t, 24> lengths{};     // kept documents of 2^i <= tokens < 2^(i+1)

  Counts& operator+=(const Counts& other);
  void add_length(std::int64_t n_tokens) noexcept;
  nlohmann::ordered_json json() const;
};

}  // namespace moebox::data
