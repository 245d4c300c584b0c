// Recipes: everything that is wrong is named with its place, before anything is loaded.
#include "train/recipe.h"

#include <random>

#include <gtest/gtest.h>

#include "base/error.h"

namespace moebox::train {
namespace {

const std::string whole = R"(products = "bf16"
threads = 3

[model]
config = "sizes/config.json"
tokenizer = "/tokenizer"
seed = 7
deviation = 0.006
further_tokens = true

[data]
folder = "shards"
sequence_tokens = 256
sequences = 32
accumulate = 4
seed = 9

[loss]
balance = 0.0001
z = 0.001
further = 0.3
bias_rate = 0.001
chunk_tokens = 256

[budget]
top_p = 0.8
min_experts = 2

[optimizer]
kind = "adamw"
learning_rate = 4.2e-4
beta2 = 0.95
weight_decay = 0.1
clip = 1

[schedule]
kind = "wsd"
steps = 1000
warmup_steps = 100
decay_steps = 200
final_fraction = 0.05

[output]
folder = "run"
type = "BF16"
gguf = "Q8_0"
)";

/// `whole` with the first `from` replaced.
std::string with(const std::string& from, const std::string& to) {
  std::string text = whole;
  const auto place = text.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  return text.replace(place, from.size(), to);
}

TEST(Recipe, SaysWhatItSays) {
  const Recipe recipe = parse_recipe(whole, "/somewhere/recipe.toml");
  EXPECT_EQ(recipe.products, Products::bf16);
  EXPECT_EQ(recipe.threads, 3);
  EXPECT_EQ(recipe.model.config, "/somewhere/sizes/config.json");
  EXPECT_EQ(recipe.model.tokenizer, "/tokenizer");
  EXPECT_EQ(recipe.model.seed, 7U);
  EXPECT_EQ(recipe.data.sequences, 32);
  EXPECT_EQ(recipe.data.accumulate, 4);
  EXPECT_DOUBLE_EQ(recipe.loss.further, 0.3);
  EXPECT_FLOAT_EQ(recipe.budget.top_p, 0.8f);
  EXPECT_EQ(recipe.budget.min_experts, 2);
  EXPECT_DOUBLE_EQ(recipe.optimizer.clip, 1.0);
  EXPECT_DOUBLE_EQ(recipe.schedule.learning_rate, 4.2e-4);
  EXPECT_EQ(recipe.schedule.kind, ScheduleKind::wsd);
  EXPECT_EQ(recipe.schedule.decay_steps, 200);
  EXPECT_TRUE(recipe.output.bf16);
  EXPECT_EQ(recipe.output.gguf, "Q8_0");
}

struct WrongRecipe {
  std::string name, text;
  std::vector<std::string> parts;  // of the error
};

std::vector<WrongRecipe> wrong_recipes() {
  return {
      {"unknown_key", with("seed = 9", "sed = 9"), {"r.toml:16", "data.sed", "no such key", "accumulate, folder"}},
      {"experts_of_nothing",
       with("[loss]", "[upcycle]\nexperts = 4\n[loss]"),
       {"upcycle.experts", "expected model.checkpoint, found model.config"}},
      {"unknown_section", with("[loss]", "[losses]"), {"losses", "budget, checkpoint, data", "loss, model, optimizer"}},
      {"keeps_no_checkpoint", with("[loss]", "[checkpoint]\nkeep = 0\n[loss]"), {"checkpoint.keep", "expected 1 to"}},
      {"section_is_no_table", "model = 3\n", {"r.toml:1", "model", "expected a table", "an integer"}},
      {"text_for_integer",
       with("steps = 1000", "steps = \"1000\""),
       {"schedule.steps", "expected an integer, found a text"}},
      {"number_for_integer",
       with("sequences = 32", "sequences = 3.5"),
       {"data.sequences", "expected an integer, found a number"}},
      {"text_for_flag",
       with("further_tokens = true", "further_tokens = \"yes\""),
       {"model.further_tokens", "true or false"}},
      {"out_of_range", with("beta2 = 0.95", "beta2 = 1.5"), {"optimizer.beta2", "found 1.5"}},
      {"not_a_number", with("beta2 = 0.95", "beta2 = nan"), {"optimizer.beta2", "nan"}},
      {"unknown_choice", with("\"wsd\"", "\"linear\""), {"schedule.kind", "cosine, wsd", "linear"}},
      {"unknown_products", with("\"bf16\"", "\"f16\""), {"products", "f32, bf16, auto", "f16"}},
      {"misspelt_key", with("steps = 1000\n", "stepz = 1000\n"), {"schedule.stepz", "no such key", "steps"}},
      {"missing_key", with("steps = 1000\n", ""), {"schedule.steps", "missing"}},
      {"missing_section", with("[output]\nfolder = \"run\"", "[output]"), {"output.folder", "missing"}},
      {"no_model", with("config = \"sizes/config.json\"", ""), {"model.config", "expected config", "checkpoint"}},
      {"two_models", with("[model]", "[model]\ncheckpoint = \"m.gguf\""), {"model.checkpoint", "found both"}},
      {"seed_of_a_checkpoint",
       with("config = \"sizes/config.json\"", "checkpoint = \"m\""),
       {"model.seed", "random weights"}},
      {"parts", with("accumulate = 4", "accumulate = 5"), {"data.accumulate", "divides the 32 sequences"}},
      {"further_without",
       with("further_tokens = true", "further_tokens = false"),
       {"loss.further", "model.further_tokens"}},
      {"decay_of_cosine", with("\"wsd\"", "\"cosine\""), {"schedule.decay_steps", "wsd"}},
      {"wsd_without_decay", with("decay_steps = 200\n", ""), {"schedule.decay_steps", "needs it"}},
      {"long_warmup",
       with("warmup_steps = 100", "warmup_steps = 1000"),
       {"schedule.warmup_steps", "fewer than the 1000"}},
      {"long_decay", with("decay_steps = 200", "decay_steps = 950"), {"schedule.decay_steps", "at most 900"}},
      {"budget", with("top_p = 0.8", "top_p = 0.0"), {"budget.top_p"}},
      {"unknown_gguf", with("\"Q8_0\"", "\"Q9_9\""), {"output.gguf", "Q9_9", "Q4_K_M"}},
      {"no_toml", "[model\n", {"r.toml:1", "TOML"}},
      {"no_key", "a = 1\n[=\n", {"r.toml:2", "TOML"}},  // broke an assertion of toml++ 3.3
      {"deep",
       "a" +
           [] {
             std::string dots;
             for (int i = 0; i < 2000; ++i) dots += ".a";
             return dots;
           }() +
           " = 1\n",
       {"dots"}},
      {"long", std::string(100'000, '#'), {"at most 65536 bytes"}},
  };
}

class WrongRecipes : public ::testing::TestWithParam<WrongRecipe> {};

TEST_P(WrongRecipes, AreRefusedByName) {
  try {
    parse_recipe(GetParam().text, "/x/r.toml");
    FAIL() << "it was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    const std::string all = std::string(error.what()) + " | " + error.where() + " | " + error.hint();
    for (const std::string& part : GetParam().parts)
      EXPECT_NE(all.find(part), std::string::npos) << part << "\n" << all;
  }
}

INSTANTIATE_TEST_SUITE_P(Train, WrongRecipes, ::testing::ValuesIn(wrong_recipes()),
                         [](const auto& info) { return info.param.name; });

TEST(Recipe, MayHoldAnything) {
  std::mt19937 random(3);
  const std::string characters = "\x80\"'=[]{}#.,\n\r\t -+_09axeE\\\0";
  for (int i = 0; i < 5000; ++i) {
    std::string text = whole;
    for (unsigned n = 1 + random() % 4; n > 0; --n) {
      const std::size_t at = random() % text.size();
      if (random() % 3 == 0)
        text.erase(at, random() % 60);
      else
        text.insert(at, 1 + random() % 3, characters[random() % characters.size()]);
      if (text.empty()) text = "x";
    }
    try {
      parse_recipe(text, "/x/r.toml");
    } catch (const Error& error) {
      EXPECT_NE(error.where().find("/x/r.toml"), std::string::npos) << error.what();
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    }
  }
}

TEST(Recipe, AFileThatIsNotThereIsNamed) {
  try {
    read_recipe("/nowhere/recipe.toml");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::not_found);
    EXPECT_NE(error.where().find("/nowhere/recipe.toml"), std::string::npos);
  }
}

}  // namespace
}  // namespace moebox::train
