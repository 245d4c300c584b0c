#include "io/split_gguf.h"

#include <gtest/gtest.h>

namespace moebox {
namespace {

TEST(SplitName, NamesOfPartsAreUnderstood) {
  const auto name = parse_split_name("/models/big-00002-of-00010.gguf");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->prefix, "big");
  EXPECT_EQ(name->part, 2u);
  EXPECT_EQ(name->n_parts, 10u);
  EXPECT_EQ(split_path("/models/big-00002-of-00010.gguf", *name, 7), "/models/big-00007-of-00010.gguf");
}

TEST(SplitName, OtherNamesAreNot) {
  for (const char* name : {"big.gguf", "-00001-of-00002.gguf", "big-00000-of-00002.gguf", "big-00003-of-00002.gguf",
                           "big-1-of-2.gguf", "big-0000a-of-00002.gguf", "big-+0001-of-00002.gguf",
                           "big-00001-of-00002.bin", "big_00001-of-00002.gguf", ""}) {
    EXPECT_FALSE(parse_split_name(name)) << name;
  }
}

}  // namespace
}  // namespace moebox
