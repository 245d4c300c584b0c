// A row of steps of any length as a fixed number of cells: while steps come in, cells are joined in pairs whenever
// there are too many. Memory and a chart's size stay bounded, whatever the run's length.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace moebox::report {

/// Least, mean and most of some numbers. What no chart could show is left out: no finite number, or beyond all bounds.
struct Spread {
  double least = 0, most = 0, sum = 0;
  std::int64_t n = 0;

  static Spread of(double value) { return std::abs(value) < 1e100 ? Spread{value, value, value, 1} : Spread{}; }
  void join(const Spread& other) {
    if (other.n == 0) return;
    least = n == 0 ? other.least : std::min(least, other.least);
    most = n == 0 ? other.most : std::max(most, other.most);
    sum += other.sum;
    n += other.n;
  }
  bool operator==(const Spread&) const = default;
  double mean() const { return n == 0 ? NAN : sum / static_cast<double>(n); }
};

/// `Cell` has join(const Cell&).
template <class Cell>
class Timeline {
 public:
  /// At most 2 * n_cells - 1 cells, and at least n_cells of a row that long.
  explicit Timeline(std::size_t n_cells) : most_(2 * n_cells) {}

  /// The next step's.
  void add(Cell cell) {
    if (n_steps_++ % width_ != 0) {
      cells_.back().join(cell);
      return;
    }
    cells_.push_back(std::move(cell));
    if (cells_.size() < most_) return;
    // The newest cell is short still: it goes on growing as the second half of its pair.
    for (std::size_t i = 0; i + 1 < cells_.size(); i += 2) {
      cells_[i].join(cells_[i + 1]);
      if (i > 0) cells_[i / 2] = std::move(cells_[i]);
    }
    cells_.resize(cells_.size() / 2);
    width_ *= 2;
  }

  const std::vector<Cell>& cells() const noexcept { return cells_; }
  /// Steps that each cell stands for; the last one may have fewer.
  std::int64_t width() const noexcept { return width_; }
  std::int64_t n_steps() const noexcept { return n_steps_; }

 private:
  std::size_t most_;
  std::int64_t width_ = 1, n_steps_ = 0;
  std::vector<Cell> cells_;
};

}  // namespace moebox::report
