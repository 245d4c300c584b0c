// Which type products are computed in: what the recipe says, what a run was begun with, or what is faster.
#include "train/products.h"

#include <gtest/gtest.h>

#include "io/io_testing.h"

namespace moebox::train {
namespace {

TEST(ProductsType, TheRecipeSaysIt) {
  const moebox::test::TemporaryFolder folder;
  moebox::test::write_file(folder / "train.log.jsonl", "{\"products\":\"f32\"}\n");
  const auto world = make_world_of_one();
  EXPECT_TRUE(are_in_bf16(Products::bf16, folder.path(), *world));
  EXPECT_FALSE(are_in_bf16(Products::f32, folder.path(), *world));
}

TEST(ProductsType, ARunGoesOnAsItWasBegun) {
  const moebox::test::TemporaryFolder folder;
  const auto world = make_world_of_one();
  for (const bool bf16 : {true, false}) {
    const std::string name = bf16 ? "bf16" : "f32";
    moebox::test::write_file(folder / "train.log.jsonl", "{\"moebox_train\":1,\"products\":\"" + name + "\"}\n{\"step\":1}\n");
    EXPECT_EQ(are_in_bf16(Products::automatic, folder.path(), *world), bf16);
  }
}

TEST(ProductsType, IsProbedWhereNothingSaysIt) {
  const moebox::test::TemporaryFolder folder;
  const auto world = make_world_of_one();
  EXPECT_NO_THROW(are_in_bf16(Products::automatic, folder.path(), *world));
  moebox::test::write_file(folder / "train.log.jsonl", "no JSON");
  EXPECT_NO_THROW(are_in_bf16(Products::automatic, folder.path(), *world));
}

}  // namespace
}  // namespace moebox::train
