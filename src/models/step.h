// What every layer of a forward needs to know of the step at hand, and the few things that all layers do with rows.
#pragma once

#include <vector>

#include "base/thread_team.h"
#include "models/linear.h"
#include "models/model.h"

namespace moebox {

struct Step {
  const TeamMember& member;
  const KernelTable& kernels;
  const Batch& batch;

  int n_tokens() const noexcept { return static_cast<int>(batch.tokens.size()); }
};

/// Rows (n_rows, columns) `stride` floats apart: row i of a buffer.
inline float* row_of(const AlignedBuffer& buffer, int row, int columns) noexcept {
  return buffer.floats() + static_cast<std::ptrdiff_t>(row) * columns;
}

inline AlignedBuffer float_rows(int n, int columns) {
  return AlignedBuffer(static_cast<std::size_t>(n) * static_cast<std::size_t>(columns) * sizeof(float));
}

/// Norms this member's rows of x into `normed`, both (n_tokens, columns), and converts them for matrices of `types`;
/// ends with a barrier.
void norm_and_quantize(const Step& step, const AlignedBuffer& x, const std::vector<float>& weight, float epsilon,
                       ActivationTypes types, const AlignedBuffer& normed, const Activations& activations) noexcept;

/// x (n_tokens, n_rows) += matrix * rows + bias; rows (n_tokens, n_columns), `projected` like x is scratch. Begins by
/// converting the rows and ends with a barrier.
void project_and_add(const Step& step, const AlignedBuffer& rows, const PackedMatrix& matrix,
                     const std::vector<float>& bias, const Activations& activations, const AlignedBuffer& projected,
                     const AlignedBuffer& x) noexcept;

}  // namespace moebox
