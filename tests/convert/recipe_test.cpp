// The recipes beside llama.cpp's quantiser: tests/golden/convert/recipes.json has the types that it gave every tensor.
#include "convert/recipe.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "io/io_testing.h"
#include "models/golden_data.h"

namespace moebox::test {
namespace {

PlannedTensor planned(const std::string& name, std::vector<std::int64_t> shape) {
  PlannedTensor tensor;
  tensor.name = name;
  tensor.shape = std::move(shape);
  tensor.source.values = {0};
  return tensor;
}

TEST(Recipe, GivesEveryTensorTheTypeThatLlamaCppGives) {
  for (const auto& model : read_json(golden_dir() / "convert" / "recipes.json")) {
    ModelShape shape;
    shape.architecture = model.at("architecture");
    shape.n_layers = model.at("n_layers");
    shape.n_heads = model.at("n_heads");
    shape.n_kv_heads = model.at("n_kv_heads");
    shape.n_experts = model.at("n_experts");
    const auto& tensors = model.at("tensors");
    const bool has_output =
        std::any_of(tensors.begin(), tensors.end(), [](const auto& entry) { return entry.at(0) == "output.weight"; });
    for (const auto& [type, letters] : model.at("types").items()) {
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        const std::string name = tensors[i].at(0), letter(1, letters.get<std::string>().at(i));
        const PlannedTensor tensor = planned(name, tensors[i].at(1).get<std::vector<std::int64_t>>());
        EXPECT_EQ(moebox::name(choose_type(find_recipe(type), shape, tensor, has_output)),
                  model.at("letters").at(letter).get<std::string>())
            << model.at("name") << " " << type << " " << name;
      }
    }
  }
}

TEST(Recipe, NamesAreFoundInAnyCase) {
  for (const Recipe& recipe : recipes()) EXPECT_EQ(&find_recipe(recipe.name), &recipe);
  EXPECT_EQ(find_recipe("q4_k_m").file_type, 15u);
  expect_error(ErrorKind::invalid_argument, {"Q4_K_X", "Q4_K_M"}, [] { find_recipe("Q4_K_X"); });
}

TEST(Recipe, RowsThatAreNoWholeBlocksTakeTheNextType) {
  const ModelShape model{"llama", 4, 4, 4, 0};
  const auto type_of = [&](const char* recipe, std::int64_t columns) {
    return choose_type(find_recipe(recipe), model, planned("blk.1.ffn_up.weight", {8, columns}), true);
  };
  EXPECT_EQ(type_of("Q4_K_M", 512), DType::q4_k);
  EXPECT_EQ(type_of("Q4_K_M", 96), DType::q5_0);
  EXPECT_EQ(type_of("Q5_K_M", 96), DType::q5_1);
  EXPECT_EQ(type_of("Q6_K", 96), DType::q8_0);
  EXPECT_EQ(type_of("Q2_K", 96), DType::q4_0);
  EXPECT_EQ(type_of("Q4_K_M", 100), DType::f16);
  EXPECT_EQ(type_of("Q8_0", 100), DType::f16);
  EXPECT_EQ(type_of("BF16", 100), DType::bf16);
}

}  // namespace
}  // namespace moebox::test
