// A trie of strings: which of them are prefixes of a text.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace moebox {

class PieceTrie {
 public:
  PieceTrie() = default;
  /// Throws Error(resource) for a piece longer than limits::kAddedTokenBytes: it would make every search slow. Of equal
  /// pieces the first counts.
  explicit PieceTrie(std::vector<std::pair<std::string_view, TokenId>> pieces);

  bool empty() const noexcept { return nodes_.empty(); }

  /// Calls `visit(length, id)` for every piece that `text` begins with, the shortest first.
  template <class Visit>
  void match(std::string_view text, Visit&& visit) const {
    if (nodes_.empty()) return;
    std::uint32_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<unsigned char>(text[i]));
      if (node == 0) return;
      if (nodes_[node].id >= 0) visit(i + 1, nodes_[node].id);
    }
  }

 private:
  struct Node {
    std::uint32_t first_child = 0;  // children lie together, by byte
    std::uint16_t children = 0;
    std::uint8_t byte = 0;
    TokenId id = -1;
  };

  /// 0 when there is none: the root is nobody's child.
  std::uint32_t child(std::uint32_t node, unsigned char byte) const noexcept {
    const Node& parent = nodes_[node];
    if (parent.children == 256) return parent.first_child + byte;  // usual at the root
    std::uint32_t low = parent.first_child, high = low + parent.children;
    while (low < high) {
      const std::uint32_t middle = (low + high) / 2;
      if (nodes_[middle].byte < byte) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low < parent.first_child + parent.children && nodes_[low].byte == byte ? low : 0;
  }

  std::vector<Node> nodes_;
};

}  // namespace moebox
