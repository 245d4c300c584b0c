// Building the trie, level by level from the sorted pieces.
#include "tokenizer/piece_trie.h"

#include <algorithm>

#include <fmt/core.h>

#include "base/error.h"
#include "tokenizer/vocabulary.h"

namespace moebox {

PieceTrie::PieceTrie(std::vector<std::pair<std::string_view, TokenId>> pieces) {
  if (pieces.empty()) return;
  for (const auto& [text, id] : pieces) {
    if (text.size() > limits::kAddedTokenBytes) {
      throw Error(
          ErrorKind::resource,
          fmt::format("token {} has {} bytes; at most {} are accepted here", id, text.size(), limits::kAddedTokenBytes),
          "tokenizer");
    }
  }
  std::sort(pieces.begin(), pieces.end());  // of equal pieces the lowest id counts
  struct Range {
    std::size_t first, last;  // the pieces below a node
  };
  nodes_.push_back({});
  std::vector<Range> level{{0, pieces.size()}}, next_level;
  std::size_t level_begin = 0;
  for (std::size_t depth = 0; !level.empty(); ++depth) {
    next_level.clear();
    for (std::size_t i = 0; i < level.size(); ++i) {
      auto [first, last] = level[i];
      Node& node = nodes_[level_begin + i];
      if (first < last && pieces[first].first.size() == depth) {
        if (depth > 0) node.id = pieces[first].second;
        while (first < last && pieces[first].first.size() == depth) ++first;
      }
      node.first_child = static_cast<std::uint32_t>(nodes_.size());
      std::uint16_t children = 0;
      while (first < last) {
        const char byte = pieces[first].first[depth];
        std::size_t end = first;
        while (end < last && pieces[end].first[depth] == byte) ++end;
        next_level.push_back({first, end});
        nodes_.push_back({.byte = static_cast<std::uint8_t>(byte)});  // `node` may move
        ++children;
        first = end;
      }
      nodes_[level_begin + i].children = children;
    }
    level_begin = nodes_.size() - next_level.size();
    level.swap(next_level);
  }
}

}  // namespace moebox
