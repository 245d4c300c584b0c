// Documents of different lengths into rows of one length, with as little padding and as few cuts as possible.
#pragma once

#include <cstdint>
#include <vector>

namespace moebox::data {

/// A part of a document: `length` neighbouring pairs of a token and the one that follows it, from token `offset` on. A
/// document of n tokens has n - 1 pairs.
struct Piece {
  std::int64_t document = 0;
  std::int64_t offset = 0;
  int length = 0;

  bool operator==(const Piece&) const = default;
};

/// The pieces of a row fill it from the left; what is left is padding.
using Row = std::vector<Piece>;

struct PackingOptions {
  int row_tokens = 0;         // pairs that a row holds
  double max_padding = 0.05;  // share of all pairs, above which documents are cut to fill rows
  int least_cut = 16;         // holes that are smaller are not filled by cutting
};

/// Packs pieces of at most row_tokens pairs each. Best-fit decreasing (Ding et al. 2024, "Fewer truncations improve
/// language modeling", arXiv 2404.10830): the longest piece first, into the row with the least room that still holds
/// it. Where that leaves more than max_padding, the emptiest rows are dissolved: their pieces are cut to fill the
/// largest holes of the others. The same pieces in the same order give the same rows.
std::vector<Row> pack_rows(std::vector<Piece> pieces, const PackingOptions& options);

}  // namespace moebox::data
