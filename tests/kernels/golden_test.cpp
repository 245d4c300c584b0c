// Products against numbers that moebox did not make: tests/golden/kernels/make_products.py (gguf's dequantisation,
// float64).
#include <fstream>

#include <gtest/gtest.h>

#include "kernel_cases.h"

namespace moebox::test {
namespace {

constexpr int n_tokens = 4;

struct Golden {
  std::vector<float> x;  // (n_tokens, columns)
  struct Entry {
    DType dtype;
    int rows, columns;
    std::vector<std::byte> stored;
    std::vector<double> product;  // (rows, n_tokens)
  };
  std::vector<Entry> entries;
};

class Reader {
 public:
  explicit Reader(const std::string& path) : file_(path, std::ios::binary) {}
  template <class T>
  std::vector<T> read(std::size_t n) {
    std::vector<T> values(n);
    file_.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(n * sizeof(T)));
    if (!file_) throw std::runtime_error("products.bin is missing or too short");
    return values;
  }
  std::uint32_t number() { return read<std::uint32_t>(1)[0]; }

 private:
  std::ifstream file_;
};

Golden read_golden() {
  Reader reader(std::string(MOEBOX_TEST_DIR) + "/golden/kernels/products.bin");
  Golden golden;
  golden.x = reader.read<float>(n_tokens * reader.number());
  for (std::uint32_t n = reader.number(); n > 0; --n) {
    Golden::Entry entry;
    entry.dtype = dtype_from_ggml(reader.number()).value();
    entry.rows = static_cast<int>(reader.number());
    entry.columns = static_cast<int>(reader.number());
    entry.stored = reader.read<std::byte>(reader.number());
    entry.product = reader.read<double>(static_cast<std::size_t>(entry.rows * n_tokens));
    golden.entries.push_back(std::move(entry));
  }
  return golden;
}

class GoldenProducts : public ::testing::TestWithParam<Isa> {};

// The budget: an int8 activation is off by at most half a step, with a variance of step^2 / 12, so a product's error
// has the variance sum w^2 step^2 / 12; 80 products a type stay within 5 standard deviations. f32 activations leave
// float32 rounding: at most n_columns + 2 units of the sum of |w x|.
TEST_P(GoldenProducts, AreWithinTheActivationBudget) {
  const KernelTable& table = kernel_table(GetParam());
  const Golden golden = read_golden();
  ASSERT_EQ(golden.entries.size(), std::size(all_dtypes));
  for (const Golden::Entry& entry : golden.entries) {
    SCOPED_TRACE(name(entry.dtype));
    TensorView view{"golden", entry.dtype, 2, {entry.rows, entry.columns}, entry.stored};
    const std::size_t panel = packed_panel_bytes(entry.dtype, entry.columns);
    AlignedBytes packed(panel * static_cast<std::size_t>((entry.rows + 31) / 32));
    const PackedMatrix matrix{entry.dtype, entry.rows, entry.columns, panel, packed.data()};
    pack_panels(view, 0, matrix.n_panels(), packed.data());
    const ActivationType type = activation_type(entry.dtype);
    AlignedBytes activations(activation_bytes(type, n_tokens, entry.columns));
    table.quantize(type, golden.x.data(), entry.columns, n_tokens, entry.columns, 0, n_tokens, activations.data());
    std::vector<float> out(static_cast<std::size_t>(n_tokens * entry.rows));
    table.matmul(matrix, activations.data(), n_tokens, 0, matrix.n_panels(), out.data(), entry.rows);

    const int block = type == ActivationType::int8_block32 ? 32 : 256;
    double error = 0, size = 0;
    for (int row = 0; row < entry.rows; ++row) {
      std::vector<float> w(static_cast<std::size_t>(entry.columns));
      unpack_row(matrix, row, w.data());
      for (int t = 0; t < n_tokens; ++t) {
        const float* x = golden.x.data() + t * entry.columns;
        double variance = 0, absolute = 0;
        for (int first = 0; first < entry.columns; first += block) {
          float amax = 0;
          for (int k = first; k < first + block; ++k) amax = std::max(amax, std::abs(x[k]));
          const double step = amax / 127.0;
          for (int k = first; k < first + block; ++k) {
            const double weight = w[static_cast<std::size_t>(k)];
            variance += weight * weight * step * step / 12;
            absolute += std::abs(weight * static_cast<double>(x[k]));
          }
        }
        const double expected = entry.product[static_cast<std::size_t>(row * n_tokens + t)];
        const double found = out[static_cast<std::size_t>(t * entry.rows + row)];
        const double rounding = (entry.columns + 2) * 0x1p-24 * absolute;
        const double budget = type == ActivationType::f32 ? rounding : 5 * std::sqrt(variance) + rounding;
        EXPECT_NEAR(found, expected, budget) << "row " << row << " token " << t;
        error += (found - expected) * (found - expected);
        size += expected * expected;
      }
    }
    const double relative = std::sqrt(error / size);
    EXPECT_LT(relative, type == ActivationType::f32 ? 1e-6 : type == ActivationType::int8_block32 ? 0.012 : 0.03);
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, GoldenProducts, ::testing::ValuesIn(available_isas().begin(), available_isas().end()),
                         isa_name);

}  // namespace
}  // namespace moebox::test
