#include "models/step.h"

#include <algorithm>

namespace moebox {

void norm_and_quantize(const Step& step, const AlignedBuffer& x, const std::vector<float>& weight, float epsilon,
                       ActivationTypes types, const AlignedBuffer& normed, const Activations& activations) noexcept {
  const auto part = step.member.part(step.n_tokens());
  const int columns = static_cast<int>(weight.size());
  for (int t = part.first; t < part.last; ++t)
    step.kernels.rms_norm(row_of(x, t, columns), weight.data(), epsilon, columns, row_of(normed, t, columns));
  activations.quantize_rows(step.kernels, types, normed.floats(), columns, step.n_tokens(), columns, part.first,
                            part.last);
  step.member.wait();
}

void project_and_add(const Step& step, const AlignedBuffer& rows, const PackedMatrix& matrix,
                     const std::vector<float>& bias, const Activations& activations, const AlignedBuffer& projected,
                     const AlignedBuffer& x) noexcept {
  const int n_tokens = step.n_tokens();
  const auto tokens = step.member.part(n_tokens);
  activations.quantize_rows(step.kernels, {&matrix}, rows.floats(), matrix.n_columns, n_tokens, matrix.n_columns,
                            tokens.first, tokens.last);
  step.member.wait();
  const auto panels = step.member.part(matrix.n_panels());
  if (panels.first < panels.last) {
    step.kernels.matmul(matrix, activations.of(matrix.dtype), n_tokens, panels.first, panels.last, projected.floats(),
                        matrix.n_rows);
    const int begin = panels.first * panel_rows, count = std::min(panels.last * panel_rows, matrix.n_rows) - begin;
    for (int t = 0; t < n_tokens; ++t) {
      float* product = row_of(projected, t, matrix.n_rows) + begin;
      if (!bias.empty()) step.kernels.add(product, bias.data() + begin, count);
      step.kernels.add(row_of(x, t, matrix.n_rows) + begin, product, count);
    }
  }
  step.member.wait();
}

}  // namespace moebox
