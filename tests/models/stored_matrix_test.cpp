// Matrices that are converted on their way into packed memory: products of what was packed against double arithmetic on
// the stored values.
#include "models/stored_matrix.h"

#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "models/linear.h"
#include "tensor/dequantize.h"
#include "tensor/quantize.h"

namespace moebox {
namespace {

/// Random values stored as `dtype`, (n_rows, n_columns).
struct Stored {
  Stored(DType dtype, int n_rows, int n_columns)
      : bytes(row_bytes(dtype, static_cast<std::size_t>(n_columns)) * static_cast<std::size_t>(n_rows)),
        values(static_cast<std::size_t>(n_rows) * static_cast<std::size_t>(n_columns)) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (float& value : values) value = normal(random);
    const auto columns = static_cast<std::size_t>(n_columns), stride = row_bytes(dtype, columns);
    for (std::size_t r = 0; r < static_cast<std::size_t>(n_rows); ++r) {
      quantize_row(dtype, values.data() + r * columns, bytes.data() + r * stride, columns);
      dequantize_row(dtype, bytes.data() + r * stride, values.data() + r * columns, columns);
    }
    matrix.view.dtype = dtype;
    matrix.view.rank = 2;
    matrix.view.shape = {n_rows, n_columns};
    matrix.view.data = bytes;
  }

  std::vector<std::byte> bytes;
  std::vector<float> values;  // as stored
  StoredMatrix matrix;
};

/// Relative RMS difference of a product with the packed matrix from that with the stored values, transposed.
double error_of_transposed(const Stored& stored, DType expected_type, int n_threads) {
  const StoredMatrix transposed = stored.matrix.transpose();
  EXPECT_EQ(transposed.packed_dtype(), expected_type);
  const int n_rows = static_cast<int>(transposed.n_rows()), n_columns = static_cast<int>(transposed.n_columns());
  PackedMatrix packed{expected_type, n_rows, n_columns, packed_panel_bytes(expected_type, n_columns), nullptr};
  AlignedBuffer panels(bytes_of(packed) + 8192);
  std::fill_n(panels.bytes(), panels.size(), std::byte{0});
  ThreadTeam team(n_threads);
  transposed.pack(packed, panels.bytes(), team);
  packed.data = panels.bytes();

  std::vector<float> x(static_cast<std::size_t>(n_columns)), out(static_cast<std::size_t>(n_rows));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i) * 1.7f);
  const KernelTable& kernels = kernel_table();
  const ActivationType type = activation_type(expected_type);
  AlignedBuffer activations(activation_bytes(type, 1, n_columns));
  kernels.quantize(type, x.data(), n_columns, 1, n_columns, 0, 1, activations.bytes());
  kernels.matmul(packed, activations.bytes(), 1, 0, packed.n_panels(), out.data(), n_rows);
  double error = 0, size = 0;
  for (int r = 0; r < n_rows; ++r) {
    double exact = 0;
    for (int c = 0; c < n_columns; ++c)
      exact += static_cast<double>(x[static_cast<std::size_t>(c)]) *
               static_cast<double>(stored.values[static_cast<std::size_t>(c * n_rows + r)]);
    error += std::pow(static_cast<double>(out[static_cast<std::size_t>(r)]) - exact, 2);
    size += exact * exact;
  }
  return std::sqrt(error / size);
}

// 8 bits for weights and 8 for activations: a step of 1/127 of the largest of 32, some 2.5 deviations, is 2.5 / 127 /
// sqrt(12) = 0.6% of the values in each, so 0.8% in the product.
TEST(StoredMatrix, ATransposedBlockFormatBecomesQ8) {
  for (const DType dtype : {DType::q4_0, DType::q8_0}) {
    const double one = error_of_transposed({dtype, 96, 64}, DType::q8_0, 1);
    EXPECT_GT(one, 0.001);
    EXPECT_LT(one, 0.02);
    EXPECT_EQ(error_of_transposed({dtype, 96, 64}, DType::q8_0, 2), one);
  }
}

TEST(StoredMatrix, OrHalvesWhereRowsAreNoWholeBlocks) {
  EXPECT_LT(error_of_transposed({DType::q4_0, 40, 64}, DType::f16, 1), 0x1p-10);
}

}  // namespace
}  // namespace moebox
