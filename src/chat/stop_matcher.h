// Finds the first of many stop strings in bytes that arrive piece by piece (Aho and Corasick, 1975). Knows nothing of
// tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moebox {

class StopMatcher {
 public:
  /// Empty stop strings are an Error(invalid_argument).
  explicit StopMatcher(std::vector<std::string> stops);

  /// Takes bytes up to the first stop string that completes, or all. Returns how many were taken.
  std::size_t take(std::string_view bytes);
  /// The stop string that completed, the longest of those that end there; nullptr while there is none.
  const std::string* matched() const noexcept { return matched_; }
  /// How many of the last bytes taken may be the beginning of a stop string.
  std::size_t pending() const noexcept { return nodes_[state_].depth; }

 private:
  struct Node {
    std::vector<std::pair<unsigned char, std::uint32_t>> children;  // sorted by byte
    std::uint32_t fallback = 0;  // the node of the longest proper suffix that is in the tree
    std::uint32_t depth = 0;
    std::int32_t stop = -1;  // index of the longest stop string that ends here
  };
  std::uint32_t child(std::uint32_t node, unsigned char byte) const;  // 0 when there is none
  void link();

  std::vector<std::string> stops_;
  std::vector<Node> nodes_;
  std::uint32_t state_ = 0;
  const std::string* matched_ = nullptr;
};

}  // namespace moebox
