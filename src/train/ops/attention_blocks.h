// What the two passes of attention share: blocks of queries, tiles of keys, and their packed operands.
#pragma once

#include <algorithm>
#include <cstdint>

#include "train/ops/attention.h"

namespace moebox::train_ops {

inline constexpr std::int64_t query_rows = 48;  // a block's; a multiple of the rows of a product's tile
inline constexpr std::int64_t tile_keys = 256;  // a multiple of every panel's columns

/// Throws Error(invalid_argument).
template <class T>
void check_attention(const Attention<T>& attention);

/// Tokens [begin, end) of a block.
struct QueryBlock {
  std::int64_t begin, end;
  int rows() const noexcept { return static_cast<int>(end - begin); }
};
inline QueryBlock query_block(std::int64_t index, std::int64_t n_tokens) {
  return {index * query_rows, std::min((index + 1) * query_rows, n_tokens)};
}

/// The keys of one tile that a block of queries sees: [base, end), base being where a panel begins, and which of them
/// each row does.
struct VisibleKeys {
  std::int64_t base, end;
  int columns;  // end - base, rounded up to 16
  int first[query_rows], last[query_rows];

  /// `tile`: its number; keys before `lowest` are seen by none of the rows.
  VisibleKeys(QueryBlock block, const std::int32_t* first_token, std::int64_t tile, std::int64_t lowest,
              int panel_columns) {
    const std::int64_t begin = std::max(lowest, tile * tile_keys);
    base = begin / panel_columns * panel_columns;
    end = std::min(block.end, (tile + 1) * tile_keys);
    columns = static_cast<int>((end - base + 15) / 16 * 16);
    for (int row = 0; row < block.rows(); ++row) {
      const std::int64_t token = block.begin + row;
      first[row] = static_cast<int>(std::max<std::int64_t>(first_token[token], base) - base);
      last[row] = static_cast<int>(std::min(token + 1, end) - base);
    }
  }
  int n_keys() const noexcept { return static_cast<int>(end - base); }
};

/// Heads as right operands whose columns are tokens: (head, panel of tokens, unit of the dimension, panel_columns).
template <class T>
class TokenPanels {
 public:
  TokenPanels(Compute& compute, ScratchUse& scratch, Heads<const T> heads)
      : kernels_(compute.kernels.product<T>()),
        n_panels_((heads.n_tokens + kernels_.panel_columns - 1) / kernels_.panel_columns),
        panel_units_(kernels_.units(heads.dim) * kernels_.panel_columns),
        data_(scratch.take<Unit>(heads.n_heads * n_panels_ * panel_units_)) {
    for_each_task(compute.workers, heads.n_heads * n_panels_, [&](std::int64_t task, int) {
      const std::int64_t first = task % n_panels_ * kernels_.panel_columns;
      kernels_.pack_rows(heads.at(first, task / n_panels_), heads.token_stride,
                         static_cast<int>(std::min<std::int64_t>(kernels_.panel_columns, heads.n_tokens - first)),
                         heads.dim, data_ + task * panel_units_);
    });
  }

  /// out (rows, keys.columns) in float, `stride` apart = left (rows, dim) times the tokens of `keys`.
  void multiply(const Unit* left, std::int64_t left_row, int rows, std::int64_t dim, std::int64_t head,
                const VisibleKeys& keys, float* out, std::int64_t stride) const noexcept {
    const int width = kernels_.panel_columns;
    for (int column = 0; column < keys.columns; column += width) {
      const Unit* panel = data_ + (head * n_panels_ + (keys.base + column) / width) * panel_units_;
      kernels_.multiply({left, left_row, 1, panel, rows, std::min(width, keys.columns - column), kernels_.units(dim),
                         stride, out + column, nullptr, false});
    }
  }

 private:
  const ProductKernels<T>& kernels_;
  std::int64_t n_panels_, panel_units_;
  Unit* data_;
};

/// Heads as right operands that are summed over the tokens of a tile: (head, tile, panel of the dimension, unit of the
/// tile's tokens, panel_columns).
template <class T>
class TokenSums {
 public:
  TokenSums(Compute& compute, ScratchUse& scratch, Heads<const T> heads)
      : kernels_(compute.kernels.product<T>()),
        dim_(heads.dim),
        n_tiles_((heads.n_tokens + tile_keys - 1) / tile_keys),
        n_panels_((heads.dim + kernels_.panel_columns - 1) / kernels_.panel_columns),
        panel_units_(kernels_.units(tile_keys) * kernels_.panel_columns),
        data_(scratch.take<Unit>(heads.n_heads * n_tiles_ * n_panels_ * panel_units_)) {
    for_each_task(compute.workers, heads.n_heads * n_tiles_, [&](std::int64_t task, int) {
      const std::int64_t first = task % n_tiles_ * tile_keys, n = std::min(tile_keys, heads.n_tokens - first);
      for (std::int64_t panel = 0; panel < n_panels_; ++panel)
        kernels_.pack_columns(heads.at(first, task / n_tiles_) + panel * kernels_.panel_columns, heads.token_stride,
                              columns_of(panel), n, kernels_.panel_columns,
                              data_ + (task * n_panels_ + panel) * panel_units_);
    });
  }

  /// out (rows, dim) in float (+)= left (rows, keys.columns), columns being tokens from keys.base on, times the tokens.
  void multiply(const Unit* left, std::int64_t left_row, int rows, std::int64_t head, const VisibleKeys& keys,
                float* out, bool add) const noexcept {
    const std::int64_t tile = keys.base / tile_keys, skipped = kernels_.units(keys.base - tile * tile_keys);
    for (std::int64_t panel = 0; panel < n_panels_; ++panel) {
      const Unit* units = data_ + ((head * n_tiles_ + tile) * n_panels_ + panel) * panel_units_;
      kernels_.multiply({left, left_row, 1, units + skipped * kernels_.panel_columns, rows, columns_of(panel),
                         kernels_.units(keys.n_keys()), dim_, out + panel * kernels_.panel_columns, nullptr, add});
    }
  }

 private:
  int columns_of(std::int64_t panel) const noexcept {
    return static_cast<int>(std::min<std::int64_t>(kernels_.panel_columns, dim_ - panel * kernels_.panel_columns));
  }

  const ProductKernels<T>& kernels_;
  std::int64_t dim_, n_tiles_, n_panels_, panel_units_;
  Unit* data_;
};

/// Rows of a block as units: where they are, or in a buffer of a worker.
template <class T>
struct BlockUnits {
  const Unit* units;
  std::int64_t row;

  BlockUnits(const ProductKernels<T>& kernels, const T* rows, std::int64_t stride, int n_rows, std::int64_t n,
             Unit* buffer) {
    if (kernels.reads_in_place(rows, n, stride)) {
      units = reinterpret_cast<const Unit*>(rows);
      row = stride / kernels.elements_per_unit;
      return;
    }
    units = buffer;
    row = kernels.units(n);
    for (int i = 0; i < n_rows; ++i) kernels.copy_row(rows + i * stride, n, buffer + i * row);
  }
};

}  // namespace moebox::train_ops
