// What the trainer writes, the engine reads: a trained model's folder and GGUF file give the trainer's logits, experts
// and greedy tokens in the engine, and transformers gave the committed logits for these very bytes
// (tests/golden/train/make_exported.py).
#include "train/export.h"

#include <filesystem>
#include <limits>
#include <numeric>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "base/xxh64.h"
#include "io/npy.h"
#include "models/golden_data.h"
#include "runtime/block_pool.h"
#include "train/adamw.h"
#include "train/loss.h"
#include "train/train_testing.h"

namespace moebox::train::test {
namespace {

namespace fs = std::filesystem;

/// What a model says of one text, all positions.
struct Said {
  std::vector<float> logits;          // (n_tokens, vocab_size)
  std::vector<std::int32_t> experts;  // (n_moe_layers, n_tokens, top_k), ascending
};

Said engine_says(const fs::path& path, const std::vector<TokenId>& tokens) {
  moebox::test::LoadedModel loaded(path, KvType::f32, 1);
  const ModelInfo& info = loaded.model->info();
  const auto n = tokens.size();
  const int n_tokens = static_cast<int>(n);
  BlockPool pool(info, BlockPool::needed(n_tokens));
  std::vector<int> blocks;
  pool.grow(blocks, n_tokens);
  const auto workspace = loaded.model->make_workspace(n_tokens, n_tokens, n_tokens, 1);
  Said said;
  said.logits.resize(n * static_cast<std::size_t>(info.vocab_size));
  said.experts.resize(static_cast<std::size_t>(info.moe.n_layers * info.moe.top_k) * n);
  std::vector<float> dropped(static_cast<std::size_t>(info.moe.n_layers) * n);
  std::vector<int> rows(n);
  std::iota(rows.begin(), rows.end(), 0);
  const BatchSpan span{0, n_tokens, 0, blocks, Role::prompt};
  moebox::Batch batch{tokens, {&span, 1}, rows, said.logits.data()};
  if (info.moe.n_layers > 0) batch.routing = {said.experts.data(), dropped.data()};
  loaded.model->forward(loaded.team, *workspace, pool.blocks(), batch);
  return said;
}

/// How far each token's choice of a layer is from another one, in scores: the smallest difference between what the gate
/// compared and took, and what it left.
std::vector<double> margins(const LayerRouting& layer) {
  const GateSpec& spec = layer.gate;
  const Tensor logits = layer.logits.to(at::kDouble);
  Tensor choice = spec.score == GateScore::softmax ? at::softmax(logits, 1) : at::sigmoid(logits);
  if (layer.bias.defined()) choice = choice + layer.bias;
  std::vector<double> margins(static_cast<std::size_t>(choice.size(0)), std::numeric_limits<double>::infinity());
  const auto narrow = [&](const Tensor& sorted, std::int64_t k) {
    if (k >= sorted.size(1)) return;
    for (std::size_t i = 0; i < margins.size(); ++i) {
      const Tensor row = sorted[static_cast<std::int64_t>(i)];
      margins[i] = std::min(margins[i], row[k - 1].item<double>() - row[k].item<double>());
    }
  };
  if (spec.n_groups > 1) {
    const Tensor members = std::get<0>(choice.reshape({choice.size(0), spec.n_groups, -1}).sort(2, true));
    const Tensor groups = members.narrow(2, 0, spec.group_score == GroupScore::best ? 1 : 2).sum(2);
    const auto [sorted, order] = groups.sort(1, true);
    narrow(sorted, spec.top_groups);
    const Tensor kept = at::zeros_like(groups, at::kBool).scatter_(1, order.narrow(1, 0, spec.top_groups), true);
    choice = at::where(kept.repeat_interleave(spec.n_experts / spec.n_groups, 1), choice, at::full_like(choice, -1e9));
  }
  narrow(std::get<0>(choice.sort(1, true)), spec.top_k);
  return margins;
}

class Export : public ::testing::TestWithParam<std::string> {
 protected:
  Export() : folder_(fs::temp_directory_path() / ("moebox_export_" + std::to_string(::getpid()) + "_" + GetParam())) {
    fs::create_directories(folder_);
  }
  ~Export() override { fs::remove_all(folder_); }

  static std::unique_ptr<Model> load(const fs::path& path) {
    return make_model(Checkpoint::open(path), {.further_tokens = GetParam().ends_with("_mtp")});
  }
  static fs::path golden_model() { return golden_dir() / "train/models" / GetParam(); }
  static std::vector<TokenId> text(std::size_t n) {
    std::vector<TokenId> tokens(n);
    for (std::size_t i = 0; i < n; ++i) tokens[i] = static_cast<TokenId>((i * 37 + i * i * 11 + 3) % 96);
    return tokens;
  }
  static Batch batch_of(const std::vector<TokenId>& tokens) {
    Batch batch;
    batch.tokens = at::empty({1, static_cast<std::int64_t>(tokens.size())}, at::kLong);
    for (std::size_t i = 0; i < tokens.size(); ++i)
      batch.tokens[0][static_cast<std::int64_t>(i)] = static_cast<std::int64_t>(tokens[i]);
    return batch;
  }
  /// Weights that no other type but float32 holds.
  static std::unique_ptr<Model> trained() {
    auto model = load(golden_model());
    AdamW optimizer(model->weights().all(), {});
    Batch batch = batch_of(text(32));
    batch.targets = shifted(batch.tokens);
    for (int step = 0; step < 3; ++step) {
      compute_loss(*model, batch, model->forward(batch, {}), {}).total.backward();
      optimizer.step(1e-2);
      optimizer.clear_gradients();
    }
    return model;
  }

  const fs::path folder_;
};

TEST_P(Export, GivesTheTrainersLogitsAndExpertsInTheEngine) {
  const auto model = trained();
  export_folder(*model, folder_ / "model", {});
  export_gguf(folder_ / "model", folder_ / "model.gguf", "F32", false);
  const std::vector<TokenId> tokens = text(60);
  const at::NoGradGuard no_gradient;
  const ForwardResult result = model->forward(batch_of(tokens), {});
  const Tensor logits = at::mm(result.rows, model->head().t());
  // Both compute in float32, and add in other orders. A hundred roundings of 2^-24 of a number's size along the way of
  // each logit are 10 * 2^-24 as chance adds them up; the worst of thousands of logits, five times that, is what is
  // found here. Another processor may add in a third order: four times as much is allowed.
  const double tolerance = 256 * 0x1p-24 * length_of(logits) / std::sqrt(static_cast<double>(logits.numel()));
  for (const fs::path& path : {folder_ / "model", folder_ / "model.gguf"}) {
    const Said said = engine_says(path, tokens);
    const Tensor found = at::from_blob(const_cast<float*>(said.logits.data()), logits.sizes(), at::kFloat);
    EXPECT_LE((found - logits).abs().max().item<double>(), tolerance) << path;
    RecordProperty("largest_difference", std::to_string((found - logits).abs().max().item<double>() / tolerance));
    std::size_t place = 0;
    int n_ties = 0;
    for (const LayerRouting& layer : result.routing) {
      if (place == said.experts.size()) break;  // layers that predict further tokens: the engine loads them on request
      const std::vector<double> margin = margins(layer);
      for (std::size_t token = 0; token < tokens.size(); ++token) {
        const Tensor ids = layer.ids[static_cast<std::int64_t>(token)];
        bool same = true;
        for (std::int64_t i = 0; i < ids.size(0); ++i) same &= ids[i].item<std::int64_t>() == said.experts.at(place++);
        if (same) continue;
        ++n_ties;
        EXPECT_LT(margin[token], 1e-5) << "layer " << layer.layer << ", token " << token;
      }
    }
    EXPECT_EQ(place, said.experts.size());
    EXPECT_EQ(n_ties, 0) << "no choice of this text is that close";
  }
}

TEST_P(Export, GivesTheSameGreedyTokens) {
  const auto model = trained();
  export_folder(*model, folder_ / "model", {});
  const at::NoGradGuard no_gradient;
  const auto n_vocab = static_cast<std::size_t>(model->sizes().vocab_size);
  std::vector<TokenId> by_trainer = text(8), by_engine = by_trainer;
  for (int step = 0; step < 24; ++step) {
    const Tensor rows = model->forward(batch_of(by_trainer), {}).rows;
    by_trainer.push_back(
        static_cast<TokenId>(at::mv(model->head(), rows[rows.size(0) - 1]).argmax().item<std::int64_t>()));
    const Said said = engine_says(folder_ / "model", by_engine);
    const auto last = said.logits.end() - static_cast<std::ptrdiff_t>(n_vocab);
    by_engine.push_back(static_cast<TokenId>(std::max_element(last, said.logits.end()) - last));
  }
  EXPECT_EQ(by_trainer, by_engine);
}

std::string digest_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  return fmt::format("{:016x}", xxh64(std::as_bytes(std::span(bytes))));
}

/// The committed logits are what transformers computed for a folder; ours has the same bytes.
TEST_P(Export, IsWhatTransformersRead) {
  export_folder(*load(golden_model()), folder_ / "model", {});
  // How make_exported.py gets the folders that it reads.
  if (const char* keep = std::getenv("MOEBOX_EXPORT_TO"))
    fs::copy(folder_ / "model", fs::path(keep) / GetParam(), fs::copy_options::recursive);
  const nlohmann::json golden = read_json(golden_dir() / "train/exported.json").at(GetParam());
  EXPECT_EQ(digest_of(folder_ / "model/config.json"), golden.at("config.json"));
  EXPECT_EQ(digest_of(folder_ / "model/model.safetensors"), golden.at("model.safetensors"));
  const NpyArray expected = read_npy(golden_dir() / "train" / (GetParam() + ".exported.npy"));
  const auto values = expected.as<float>();
  const std::vector<TokenId> tokens = golden.at("tokens");
  const double tolerance = golden.at("tolerance");
  const Said said = engine_says(folder_ / "model", tokens);
  EXPECT_LE(moebox::test::largest_difference(said.logits, values), tolerance);
  const at::NoGradGuard no_gradient;
  const auto again = load(folder_ / "model");
  const Tensor logits = at::mm(again->forward(batch_of(tokens), {}).rows, again->head().t()).contiguous();
  EXPECT_LE(moebox::test::largest_difference({logits.const_data_ptr<float>(), static_cast<std::size_t>(logits.numel())},
                                             values),
            tolerance);
}

TEST_P(Export, InBFloat16IsTheRoundedModel) {
  const auto model = trained();
  for (const Weight& weight : model->weights().all())
    if (weight.kind == WeightKind::statistic) weight.values.add_(0.001);  // what no bfloat16 holds
  export_folder(*model, folder_ / "model", {.bf16 = true});
  const auto again = load(folder_ / "model");
  for (std::size_t i = 0; i < model->weights().all().size(); ++i) {
    const Weight& weight = model->weights().all()[i];
    // A correction bias is not rounded: that would move tokens to other experts.
    const Tensor whole = weight.values.detach();
    const Tensor wanted = weight.kind == WeightKind::statistic ? whole : whole.to(at::kBFloat16).to(at::kFloat);
    EXPECT_TRUE(same_bits(again->weights().all()[i].values.detach(), wanted)) << weight.parts.front().name;
  }
}

INSTANTIATE_TEST_SUITE_P(Train, Export,
                         ::testing::Values("deepseek_v3", "deepseek_v2", "deepseek_v2_attention", "deepseek_v3_mtp",
                                           "llama", "qwen2", "qwen3", "qwen2moe", "qwen3moe"),
                         [](const auto& info) { return info.param; });

TEST(ExportFolder, TakesTheTokenizerAlongAndNeverOverwrites) {
  const fs::path folder = fs::temp_directory_path() / ("moebox_export_" + std::to_string(::getpid()));
  fs::create_directories(folder / "from");
  std::ofstream(folder / "from/tokenizer.json") << "{}";
  std::ofstream(folder / "from/secret.txt") << "x";
  const auto model = make_model(Checkpoint::open(golden_dir() / "train/models/llama"), {});
  export_folder(*model, folder / "to", {.tokenizer = folder / "from"});
  EXPECT_TRUE(fs::exists(folder / "to/tokenizer.json"));
  EXPECT_FALSE(fs::exists(folder / "to/secret.txt"));
  EXPECT_FALSE(fs::exists(folder / "to.part"));
  EXPECT_THROW(export_folder(*model, folder / "to", {}), Error);
  export_folder(*model, folder / "to", {.replace = true});
  EXPECT_FALSE(fs::exists(folder / "to/tokenizer.json"));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace moebox::train::test
