#include "data/packing.h"

#include <algorithm>
#include <map>
#include <queue>
#include <utility>

#include "base/error.h"

namespace moebox::data {
namespace {

struct PackedRow {
  Row pieces;
  int room = 0;
};

std::vector<PackedRow> best_fit(std::vector<Piece> pieces, int row_tokens) {
  std::ranges::stable_sort(pieces, std::ranges::greater(), &Piece::length);
  std::vector<PackedRow> rows;
  std::map<int, std::vector<std::size_t>> rows_by_room;
  for (const Piece& piece : pieces) {
    if (piece.length < 1 || piece.length > row_tokens)
      throw Error(ErrorKind::internal, "a piece must have 1 to row_tokens pairs", "packing");
    const auto fit = rows_by_room.lower_bound(piece.length);
    std::size_t row = rows.size();
    if (fit == rows_by_room.end()) {
      rows.push_back({.pieces = {}, .room = row_tokens});
    } else {
      row = fit->second.back();
      fit->second.pop_back();
      if (fit->second.empty()) rows_by_room.erase(fit);
    }
    rows[row].pieces.push_back(piece);
    rows[row].room -= piece.length;
    if (rows[row].room > 0) rows_by_room[rows[row].room].push_back(row);
  }
  return rows;
}

/// Rows with holes, the largest hole first; of equal ones the lower row.
class Holes {
 public:
  Holes(std::vector<PackedRow>& rows, int least) : rows_(rows), least_(least) {
    for (std::size_t row = 0; row < rows.size(); ++row) add(row);
  }
  std::int64_t total() const noexcept { return total_; }
  bool empty() const noexcept { return queue_.empty(); }

  /// This row is no place to fill any more.
  void close(std::size_t row) {
    if (rows_[row].room >= least_) total_ -= rows_[row].room;
    rows_[row].room = 0;
    drop_closed();
  }
  /// Puts the first pairs of `piece` into the largest hole; what does not fit stays in `piece`.
  void fill(Piece& piece) {
    const auto [hole, negative] = queue_.top();
    queue_.pop();
    PackedRow& row = rows_[static_cast<std::size_t>(-negative)];
    total_ -= hole;
    const int taken = std::min(hole, piece.length);
    row.pieces.push_back({piece.document, piece.offset, taken});
    row.room -= taken;
    piece.offset += taken;
    piece.length -= taken;
    add(static_cast<std::size_t>(-negative));
    drop_closed();
  }

 private:
  void add(std::size_t row) {
    if (rows_[row].room < least_) return;
    queue_.emplace(rows_[row].room, -static_cast<std::int64_t>(row));
    total_ += rows_[row].room;
  }
  void drop_closed() {
    while (!queue_.empty() && rows_[static_cast<std::size_t>(-queue_.top().second)].room != queue_.top().first)
      queue_.pop();
  }

  std::vector<PackedRow>& rows_;
  int least_;
  std::int64_t total_ = 0;
  std::priority_queue<std::pair<int, std::int64_t>> queue_;
};

void cut_to_fill(std::vector<PackedRow>& rows, const PackingOptions& options) {
  std::int64_t padding = 0;
  std::vector<std::size_t> emptiest(rows.size());
  for (std::size_t row = 0; row < rows.size(); ++row) {
    padding += rows[row].room;
    emptiest[row] = row;
  }
  std::ranges::stable_sort(emptiest, std::ranges::greater(), [&](std::size_t row) { return rows[row].room; });
  Holes holes(rows, std::max(options.least_cut, 1));
  std::int64_t n_rows = static_cast<std::int64_t>(rows.size());
  for (const std::size_t row : emptiest) {
    const auto too_much = options.max_padding * static_cast<double>(n_rows) * options.row_tokens;
    if (static_cast<double>(padding) <= too_much) break;
    const int room = rows[row].room, used = options.row_tokens - room;
    const std::int64_t others = holes.total() - (room >= options.least_cut ? room : 0);
    if (others < used) break;
    holes.close(row);
    Row moved = std::exchange(rows[row].pieces, {});
    for (Piece& piece : moved) {
      while (piece.length > 0 && !holes.empty()) holes.fill(piece);
      // The last holes were smaller than a cut may be.
      if (piece.length > 0) rows[row].pieces.push_back(piece);
    }
    if (!rows[row].pieces.empty()) break;
    padding -= options.row_tokens;
    --n_rows;
  }
}

}  // namespace

std::vector<Row> pack_rows(std::vector<Piece> pieces, const PackingOptions& options) {
  std::vector<PackedRow> packed = best_fit(std::move(pieces), options.row_tokens);
  cut_to_fill(packed, options);
  std::vector<Row> rows;
  for (PackedRow& row : packed)
    if (!row.pieces.empty()) rows.push_back(std::move(row.pieces));
  return rows;
}

}  // namespace moebox::data
