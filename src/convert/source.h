// Where the numbers of a tensor to be written come from: tensors of the checkpoint, stacked, reordered or transposed as
// GGUF wants them.
#pragma once

#include <cstdint>
#include <vector>

#include "io/checkpoint.h"
#include "tensor/tensor_view.h"

namespace moebox {

/// A stored tensor with its FP8 factors (tensor/block_scales.h), nullptr for other types.
struct StoredPart {
  TensorView view;
  const TensorView* scales = nullptr;
};

/// Rows of a head whose halves are rotated against each other become neighbouring pairs: row i of the first half goes
/// to 2i, row i of the second to 2i + 1. That is how GGUF stores what it rotates by pairs (2i, 2i + 1).
struct PairedRows {
  std::int64_t head_rows = 0;  // rows of one head; 0: rows stay as they are
  std::int64_t first = 0;      // the first rotated row of a head
  std::int64_t count = 0;      // rotated rows
};

/// A part of each head's rows of kv_b, which are (nope + v) a head.
struct HeadRows {
  std::int64_t head_rows = 0;  // of the stored matrix; 0: all rows
  std::int64_t first = 0, count = 0;
  bool transposed = false;  // each head's part is written as (columns, count)
};

struct TensorSource {
  std::vector<StoredPart> parts;  // of equal shape, one behind the other: the experts of a layer
  PairedRows pairs;
  HeadRows heads;
  std::vector<float> values;  // in place of parts: numbers that were computed
};

/// Reads rows of one source, as floats. Each thread has its own. The source must outlive it.
class RowReader {
 public:
  explicit RowReader(const TensorSource& source);

  std::int64_t n_columns() const noexcept { return n_columns_; }
  /// Writes row `row` of the tensor as it will be: n_columns() floats.
  void read(std::int64_t row, float* out);

 private:
  void read_stored(const StoredPart& part, std::int64_t row, float* out) const;
  void read_transposed(std::int64_t row, float* out);

  const TensorSource& source_;
  std::int64_t n_columns_;
  std::int64_t head_ = -1;     // the head that `matrix_` holds
  std::vector<float> matrix_;  // (heads.count, columns)
};

/// Lets go of the pages that rows [first, last) of the tensor as it will be were read from.
void release_rows(const Checkpoint& checkpoint, const TensorSource& source, std::int64_t first, std::int64_t last);

}  // namespace moebox
