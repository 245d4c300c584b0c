#include "base/checked.h"

#include <cstdint>

#include <gtest/gtest.h>

namespace moebox {
namespace {

TEST(Checked, SumsAndProductsThatFitAreExact) {
  EXPECT_EQ(checked_add<std::uint64_t>(3, 4), 7u);
  EXPECT_EQ(checked_mul<std::uint64_t>(1ull << 31, 1ull << 32), 1ull << 63);
  EXPECT_EQ(checked_align<std::uint64_t>(33, 32), 64u);
  EXPECT_EQ(checked_align<std::uint64_t>(64, 32), 64u);
}

TEST(Checked, OverflowIsAnErrorThatSaysWhere) {
  try {
    checked_mul<std::uint64_t>(1ull << 32, 1ull << 32, "tensor output.weight");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_file);
    EXPECT_EQ(error.where(), "tensor output.weight");
  }
  EXPECT_THROW(checked_add<std::int64_t>(INT64_MAX, 1), Error);
  EXPECT_THROW(checked_align<std::uint64_t>(UINT64_MAX, 32), Error);
  EXPECT_THROW(checked_cast<std::int32_t>(std::int64_t{1} << 31), Error);
  EXPECT_THROW(checked_cast<std::uint32_t>(-1), Error);
}

}  // namespace
}  // namespace moebox
