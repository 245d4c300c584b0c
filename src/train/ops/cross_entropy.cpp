#include "train/ops/cross_entropy.h"

#include <algorithm>

#include "train/ops/check.h"
#include "train/ops/linear.h"

namespace moebox::train_ops {
namespace {

template <class T>
void check_operands(const CrossEntropy<T>& operands, Rows<T> d_rows) {
  const std::int64_t vocab_size = operands.head.n_rows;
  expect_equal(operands.rows.n_columns, operands.head.n_columns, "columns of the rows and of the head");
  if (d_rows.data != nullptr) {
    expect_equal(d_rows.n_rows, operands.rows.n_rows, "rows of the gradient and of the rows");
    expect_equal(d_rows.n_columns, operands.rows.n_columns, "columns of the gradient and of the rows");
  }
  for (std::int64_t row = 0; row < operands.rows.n_rows; ++row) {
    if (operands.targets[row] >= vocab_size)
      throw Error(ErrorKind::invalid_argument,
                  "row " + std::to_string(row) + " has the target " + std::to_string(operands.targets[row]) + " of " +
                      std::to_string(vocab_size),
                  "cross entropy");
  }
}

}  // namespace

template <class T>
CrossEntropyLoss cross_entropy(Compute& compute, const CrossEntropy<T>& operands, Rows<T> d_rows, float* d_head,
                               bool add) {
  check_operands(operands, d_rows);
  const std::int64_t vocab_size = operands.head.n_rows, n_rows = operands.rows.n_rows;
  const std::int64_t chunk = std::clamp<std::int64_t>(operands.chunk, 1, std::max<std::int64_t>(n_rows, 1));
  ScratchUse scratch(compute.scratch);
  auto* logits = scratch.take<float>(chunk * vocab_size);
  auto* results = scratch.take<CrossEntropyResult>(n_rows);
  for (std::int64_t first = 0; first < n_rows; first += chunk) {
    const std::int64_t n = std::min(chunk, n_rows - first);
    const Rows<const T> rows = operands.rows.part(first, n);
    linear_forward(compute, rows, operands.head, Rows<float>(logits, n, vocab_size));
    for_each_task(compute.workers, n, [&](std::int64_t row, int) {
      results[first + row] = compute.kernels.rows<T>().cross_entropy(
          {logits + row * vocab_size, vocab_size, operands.targets[first + row], operands.scale, operands.z_loss});
    });
    // A gradient in T begins where its row of floats did.
    const Rows<const T> d_logits(reinterpret_cast<const T*>(logits), n, vocab_size,
                                 vocab_size * static_cast<std::int64_t>(sizeof(float) / sizeof(T)));
    if (d_rows.data != nullptr) linear_input_gradient(compute, d_logits, operands.head, d_rows.part(first, n));
    if (d_head != nullptr) linear_weight_gradient(compute, d_logits, rows, d_head, add || first > 0);
  }
  if (n_rows == 0 && d_head != nullptr && !add) std::fill_n(d_head, vocab_size * operands.head.n_columns, 0.0f);

  CrossEntropyLoss sum;
  for (std::int64_t row = 0; row < n_rows; ++row) {
    if (operands.targets[row] < 0) continue;
    const double log_sum_exp = static_cast<double>(results[row].log_sum_exp);
    sum.loss += static_cast<double>(results[row].loss);
    sum.z_loss += log_sum_exp * log_sum_exp;
    ++sum.n_targets;
  }
  return sum;
}

template CrossEntropyLoss cross_entropy(Compute&, const CrossEntropy<float>&, Rows<float>, float*, bool);
template CrossEntropyLoss cross_entropy(Compute&, const CrossEntropy<BFloat16>&, Rows<BFloat16>, float*, bool);

}  // namespace moebox::train_ops
