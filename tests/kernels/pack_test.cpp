#include <gtest/gtest.h>

#include "kernel_cases.h"

namespace moebox::test {
namespace {

class Pack : public ::testing::TestWithParam<DType> {};

TEST_P(Pack, GivesBackTheSameValues) {
  for (const int n_rows : {1, 31, 32, 70}) {
    const StoredMatrix stored(GetParam(), n_rows, 768, 7);
    const Packed packed(stored);
    std::vector<float> row(768);
    for (int i = 0; i < n_rows; ++i) {
      unpack_row(packed.matrix, i, row.data());
      ASSERT_TRUE(same_bits(row, stored.row(i))) << "row " << i << " of " << n_rows;
    }
  }
}

TEST_P(Pack, TakesNoMoreThanTheFile) {
  const std::size_t stored = row_bytes(GetParam(), 1024) * panel_rows;
  EXPECT_EQ(packed_panel_bytes(GetParam(), 1024), stored);
}

TEST_P(Pack, PacksAnyRangeOfPanels) {
  const StoredMatrix stored(GetParam(), 100, 512, 8);
  const Packed whole(stored);
  AlignedBytes parts(whole.bytes.size());
  pack_panels(stored.view, 2, 4, parts.data());
  pack_panels(stored.view, 0, 1, parts.data());
  pack_panels(stored.view, 1, 2, parts.data());
  EXPECT_EQ(std::memcmp(whole.bytes.data(), parts.data(), parts.size()), 0);
}

TEST_P(Pack, LeavesRowsBeyondTheEndZero) {
  const StoredMatrix stored(GetParam(), 33, 256, 9);
  AlignedBytes bytes(2 * packed_panel_bytes(GetParam(), 256));
  std::memset(bytes.data(), 0xff, bytes.size());
  pack_panels(stored.view, 0, 2, bytes.data());
  const PackedMatrix matrix{GetParam(), 64, 256, packed_panel_bytes(GetParam(), 256), bytes.data()};
  // All bytes of a stored block zero: what a row of zeros unpacks to depends on the format's table and offset.
  const std::vector<std::byte> zeros(row_bytes(GetParam(), 256));
  std::vector<float> expected(256), row(256);
  dequantize_row(GetParam(), zeros.data(), expected.data(), 256);
  for (int i = 33; i < 64; ++i) {
    unpack_row(matrix, i, row.data());
    ASSERT_TRUE(same_bits(row, expected)) << "row " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Pack, ::testing::ValuesIn(all_dtypes),
                         [](const auto& info) { return std::string(name(info.param)); });

}  // namespace
}  // namespace moebox::test
