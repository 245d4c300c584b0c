// The layer for multi-token prediction: its logits against torch (tests/golden/deepseek/make_golden.py), by all ways in
// which its part of the cache can be filled, and what is refused at load.
#include <cstring>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "convert/convert.h"
#include "models/golden_data.h"
#include "runtime/block_pool.h"
#include "spec/edited_model.h"

namespace moebox::test {
namespace {

namespace fs = std::filesystem;

const fs::path& mtp_model() {
  static const fs::path path = golden_dir() / "deepseek/models/tiny-v3-mtp";
  return path;
}

const nlohmann::json& mtp_case() {
  static const nlohmann::json entry = read_json(golden_dir() / "deepseek/mtp.json");
  return entry;
}

/// A model, a cache for one sequence, and the tokens of the golden text.
class Drafting {
 public:
  Drafting(const fs::path& path, const ModelOptions& options, int chunk, int n_prompt = 1 << 20, int n_threads = 1)
      : checkpoint_(Checkpoint::open(path)),
        team_(n_threads),
        model_(load_model(checkpoint_, team_, options)),
        tokens_(mtp_case().at("tokens").get<std::vector<TokenId>>()),
        chunk_(chunk),
        n_prompt_(n_prompt),
        pool_(model_->info(), BlockPool::needed(n_tokens())),
        workspace_(model_->make_workspace(chunk + 1, chunk + 1, n_tokens(), n_threads)) {
    pool_.grow(blocks_, n_tokens());
    // What nobody has written shall show.
    const std::size_t bytes = model_->info().kv_block_bytes() * static_cast<std::size_t>(pool_.total());
    std::memset(pool_.blocks().data, 0xff, bytes);
  }

  int n_tokens() const { return static_cast<int>(tokens_.size()); }
  int chunk() const { return chunk_; }
  const ModelInfo& info() const { return model_->info(); }

  /// The model's logits of positions [first, last).
  std::vector<float> forward(int first, int last) {
    std::vector<int> rows;
    for (int i = 0; i < last - first; ++i) rows.push_back(i);
    std::vector<float> logits(rows.size() * vocab());
    const BatchSpan span{0, last - first, first, blocks_, first < n_prompt_ ? Role::prompt : Role::generated};
    model_->forward(team_, *workspace_, pool_.blocks(), {tokens_of(first, last), {&span, 1}, rows, logits.data()});
    return logits;
  }
  /// The layer's, of pairs whose tokens stand at [first, last); without `wanted` the cache is filled and nothing is
  /// said. `source` is the first pair's, the others follow it.
  std::vector<float> draft(int first, int last, int source, bool wanted = true) {
    std::vector<int> rows, sources;
    for (int i = 0; i < last - first; ++i) {
      rows.push_back(i);
      sources.push_back(source == DraftBatch::of_block ? (i == 0 ? source : i - 1) : source + i);
    }
    if (!wanted) rows.clear();
    std::vector<float> logits(rows.size() * vocab());
    const BatchSpan span{0, last - first, first, blocks_, first < n_prompt_ ? Role::prompt : Role::generated};
    model_->draft(team_, *workspace_, pool_.blocks(),
                  {{tokens_of(first, last), {&span, 1}, rows, logits.data()}, sources});
    return logits;
  }

  /// Logits of all pairs, from position 1 on.
  std::vector<float> all() {
    std::vector<float> said;
    for (int first = 0; first < n_tokens();) {
      int last = std::min(first + chunk_, n_tokens());
      if (first < n_prompt_) last = std::min(last, n_prompt_);
      forward(first, last);
      const auto more = draft_behind(first, last);
      said.insert(said.end(), more.begin(), more.end());
      first = last;
    }
    return said;
  }
  /// Of the pairs behind what forward(first, last) computed. A role begins with a batch of its own.
  std::vector<float> draft_behind(int first, int last) {
    const int end = std::min(last + 1, n_tokens());
    const int border = first < n_prompt_ ? std::min(end, n_prompt_) : end;
    std::vector<float> said;
    if (border > first + 1) said = draft(first + 1, border, 0);
    if (end > border && border > first) {
      const auto more = draft(border, end, border - first - 1);
      said.insert(said.end(), more.begin(), more.end());
    }
    return said;
  }
  std::size_t vocab() const { return static_cast<std::size_t>(model_->info().vocab_size); }

 private:
  std::span<const TokenId> tokens_of(int first, int last) const {
    return std::span(tokens_).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first));
  }

  Checkpoint checkpoint_;
  ThreadTeam team_;
  std::unique_ptr<const Model> model_;
  std::vector<TokenId> tokens_;
  int chunk_, n_prompt_;
  BlockPool pool_;
  std::vector<int> blocks_;
  std::unique_ptr<Workspace> workspace_;
};

ModelOptions with_draft_layer(KvType kv_type = KvType::f32) {
  ModelOptions options;
  options.kv_type = kv_type;
  options.draft_layer = true;
  return options;
}

std::vector<float> golden_rows() { return read_npy(golden_dir() / "deepseek/mtp.logits.npy").as<float>(); }

/// The golden positions' rows of what all() says.
std::vector<float> golden_positions(const std::vector<float>& said, std::size_t vocab) {
  std::vector<float> rows;
  for (const auto& position : mtp_case().at("positions")) {
    const auto from = said.begin() + (position.get<std::ptrdiff_t>() - 1) * static_cast<std::ptrdiff_t>(vocab);
    rows.insert(rows.end(), from, from + static_cast<std::ptrdiff_t>(vocab));
  }
  return rows;
}

void expect_golden(Drafting& drafting, const std::string& what) {
  std::vector<float> expected = golden_rows();
  expected.resize(expected.size() - drafting.vocab());  // the last is another test's
  const double difference = largest_difference(golden_positions(drafting.all(), drafting.vocab()), expected);
  std::printf("%s: largest difference %.2e, tolerance %.2e\n", what.c_str(), difference,
              mtp_case().at("tolerance").get<double>());
  EXPECT_LE(difference, mtp_case().at("tolerance").get<double>()) << what;
}

TEST(Mtp, LogitsEqualTorch) {
  for (const int chunk : {150, 64, 7, 1}) {
    Drafting prompt(mtp_model(), with_draft_layer(), chunk);
    expect_golden(prompt, "a prompt in chunks of " + std::to_string(chunk));
    Drafting answer(mtp_model(), with_draft_layer(), chunk, 5);
    expect_golden(answer, "an answer in chunks of " + std::to_string(chunk));
  }
  Drafting threads(mtp_model(), with_draft_layer(), 32, 60, 2);
  expect_golden(threads, "half a prompt, two threads");
}

// Where only the cache is filled for all pairs but the last, which is what the engine does.
TEST(Mtp, FillingTheCacheIsEnough) {
  for (const KvType type : {KvType::f32, KvType::f16, KvType::bf16}) {
    Drafting all(mtp_model(), with_draft_layer(type), 150, 0), filled(mtp_model(), with_draft_layer(type), 150, 0);
    const std::vector<float> said = all.all();
    filled.forward(0, 150);
    filled.draft(1, 100, 0, false);
    const std::vector<float> row = filled.draft(100, 101, 99);
    EXPECT_EQ(std::memcmp(row.data(), said.data() + 99 * all.vocab(), row.size() * sizeof(float)), 0);
  }
}

// A block's first pair can be made of what the block before holds.
TEST(Mtp, ABlockGoesOnWhereTheOneBeforeEnded) {
  Drafting drafting(mtp_model(), with_draft_layer(KvType::f16), 64);
  drafting.forward(0, 64);
  drafting.draft(1, 64, 0, false);
  const std::vector<float> expected = drafting.draft(64, 65, 63);
  drafting.forward(64, 128);  // other rows in the workspace
  EXPECT_EQ(drafting.draft(64, 65, DraftBatch::of_block), expected);
  EXPECT_EQ(drafting.draft(64, 70, DraftBatch::of_block).size(), 6 * drafting.vocab());
}

TEST(Mtp, AGuessIsMadeOfAGuess) {
  Drafting drafting(mtp_model(), with_draft_layer(), 150, 0);
  const int chained = mtp_case().at("chained").get<int>();
  drafting.forward(0, 150);
  drafting.draft(1, chained - 1, 0, false);
  drafting.draft(chained - 1, chained, chained - 2);
  const std::vector<float> row = drafting.draft(chained, chained + 1, DraftBatch::after_draft),
                           expected = golden_rows();
  const double difference = largest_difference(row, std::span(expected).last(drafting.vocab()));
  EXPECT_LE(difference, mtp_case().at("tolerance").get<double>());
}

TEST(Mtp, TheModelItselfIsTheSameWithAndWithout) {
  for (const KvType type : {KvType::f32, KvType::f16}) {
    ModelOptions plain;
    plain.kv_type = type;
    Drafting with(mtp_model(), with_draft_layer(type), 50), without(mtp_model(), plain, 50);
    EXPECT_EQ(with.info().n_mtp_layers, 1);
    EXPECT_EQ(without.info().n_mtp_layers, 1);
    EXPECT_EQ(with.info().n_draft_layers, 1);
    EXPECT_EQ(without.info().n_draft_layers, 0);
    EXPECT_GT(with.info().n_parameters, without.info().n_parameters);
    EXPECT_GT(with.info().weight_bytes, without.info().weight_bytes);
    for (int first = 0; first < 150; first += 50) {
      EXPECT_EQ(with.forward(first, first + 50), without.forward(first, first + 50));
      with.draft_behind(first, first + 50);
    }
  }
}

// Published files hold the model's embedding and output once more; GGUF files may leave them out.
TEST(Mtp, AMissingEmbeddingOrOutputIsTheModels) {
  const std::string prefix = "model.layers.3.";
  const std::string own[] = {prefix + "embed_tokens.weight", prefix + "shared_head.head.weight"};
  const std::string models[] = {"model.embed_tokens.weight", "lm_head.weight"};
  EditedFolder copies(mtp_model()), none(mtp_model());
  for (int i = 0; i < 2; ++i) {
    copies.tensors.at(own[i]) = copies.tensors.at(models[i]);
    none.tensors.erase(own[i]);
  }
  Drafting a(copies.write(), with_draft_layer(), 32), b(none.write(), with_draft_layer(), 32),
      other(mtp_model(), with_draft_layer(), 32);
  const std::vector<float> said = a.all();
  EXPECT_EQ(said, b.all());
  EXPECT_NE(said, other.all());
  EXPECT_EQ(a.info().weight_bytes, b.info().weight_bytes);  // a copy is not packed again
  EXPECT_LT(a.info().weight_bytes, other.info().weight_bytes);

  for (EditedFolder* folder : {&copies, &none}) {  // the model's own output is its embedding
    folder->config["tie_word_embeddings"] = true;
    folder->tensors.erase("lm_head.weight");
  }
  copies.tensors.at(own[1]) = copies.tensors.at(models[0]);
  Drafting c(copies.write(), with_draft_layer(), 32), d(none.write(), with_draft_layer(), 32);
  EXPECT_EQ(c.all(), d.all());
}

TEST(Mtp, GgufKeepsTheLayerUnlessItIsToBeLeftOut) {
  const fs::path path = fs::temp_directory_path() / ("moebox_mtp_" + std::to_string(::getpid()) + ".gguf");
  for (const bool whole_kv_b : {true, false}) {
    ConvertOptions options;
    options.type = "F32";
    options.whole_kv_b = whole_kv_b;
    options.replace = true;
    options.n_threads = 1;
    options.keep_mtp = false;
    convert(Checkpoint::open(mtp_model()), path, options);
    EXPECT_THROW(Drafting(path, with_draft_layer(), 50), Error);
    EXPECT_NO_THROW(Drafting(path, {}, 50));
    options.keep_mtp = true;
    convert(Checkpoint::open(mtp_model()), path, options);
    Drafting kept(path, with_draft_layer(), 50);
    EXPECT_EQ(kept.info().n_layers, 3);
    expect_golden(kept, whole_kv_b ? "GGUF with kv_b whole" : "GGUF with kv_b in parts");
    EXPECT_NO_THROW(Drafting(path, {}, 50).forward(0, 50));
    // And from file to file, in blocks.
    const fs::path blocks = path.string() + "_q8";
    options.type = "Q8_0";
    options.keep_mtp = false;
    EXPECT_THROW(convert(Checkpoint::open(path), blocks, options), Error) << "which is for folders";
    EXPECT_FALSE(fs::exists(blocks));
    options.keep_mtp = true;
    convert(Checkpoint::open(path), blocks, options);
    Drafting small(blocks, with_draft_layer(), 50);
    std::vector<float> expected = golden_rows();
    expected.resize(expected.size() - small.vocab());
    EXPECT_LT(relative_rms(golden_positions(small.all(), small.vocab()), expected), 0.3);
    fs::remove(blocks);
  }
  fs::remove(path);
  // Models without such a layer, the first in spite of its config.json, convert as they are.
  for (const char* name : {"deepseek/models/tiny-v3", "transformers/models/llama_gqa"}) {
    ConvertOptions options;
    EXPECT_NO_THROW(convert(Checkpoint::open(golden_dir() / name), path, options)) << name;
    EXPECT_THROW(Drafting(path, with_draft_layer(), 8), Error) << name;
    EXPECT_NO_THROW(Drafting(path, {}, 8)) << name;
    fs::remove(path);
  }
}

// ---- what is refused ----

void expect_draft_layer_refused(const fs::path& path, const std::string& part) {
  try {
    Drafting(path, with_draft_layer(), 8);
    ADD_FAILURE() << "loaded in spite of " << part;
  } catch (const Error& error) {
    EXPECT_NE(error.kind(), ErrorKind::internal);
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(MtpLoading, WithoutTheLayerItIsAnErrorThatSaysWhatIsMissing) {
  expect_draft_layer_refused(golden_dir() / "transformers/models/llama_gqa", "further tokens");
  expect_draft_layer_refused(golden_dir() / "deepseek/models/tiny-v3", "model.layers.3.*");
  expect_draft_layer_refused(golden_dir() / "deepseek/models/tiny-v2", "num_nextn_predict_layers");
  EditedFolder none(mtp_model());
  none.config["num_nextn_predict_layers"] = 0;
  expect_draft_layer_refused(none.write(), "num_nextn_predict_layers");
}

TEST(MtpLoading, EveryTensorOfTheLayerIsCheckedByName) {
  const std::string prefix = "model.layers.3.";
  for (const char* name : {"enorm.weight", "hnorm.weight", "shared_head.norm.weight", "input_layernorm.weight",
                           "self_attn.kv_b_proj.weight", "mlp.gate.weight", "mlp.experts.7.up_proj.weight"}) {
    EditedFolder missing(mtp_model());
    missing.tensors.erase(prefix + name);
    expect_draft_layer_refused(missing.write(), name);
    EXPECT_NO_THROW(load(missing.write())) << "it is left out";
  }
  EditedFolder no_projection(mtp_model());  // then it is not such a layer at all
  no_projection.tensors.erase(prefix + "eh_proj.weight");
  expect_draft_layer_refused(no_projection.write(), "eh_proj");
  for (const char* name :
       {"eh_proj.weight", "enorm.weight", "hnorm.weight", "embed_tokens.weight", "shared_head.head.weight"}) {
    EditedFolder shape(mtp_model());
    auto& tensor = shape.tensors.at(prefix + name);
    tensor.shape.back() /= 2;
    tensor.data.resize(tensor.data.size() / 2);
    expect_draft_layer_refused(shape.write(), name);
  }
  EditedFolder extra(mtp_model());
  extra.tensors[prefix + "mlp.experts.8.up_proj.weight"] = extra.tensors.at(prefix + "mlp.experts.7.up_proj.weight");
  expect_draft_layer_refused(extra.write(), "experts.8");
}

TEST(MtpLoading, CountsThatContradictTheFilesAreRefused) {
  for (const nlohmann::json& value :
       {nlohmann::json(-1), nlohmann::json(1 << 30), nlohmann::json("one"), nlohmann::json(1e300)}) {
    EditedFolder folder(mtp_model());
    folder.config["num_nextn_predict_layers"] = value;
    expect_draft_layer_refused(folder.write(), "num_nextn_predict_layers");
    expect_refused(folder, "num_nextn_predict_layers");
  }
  EditedFolder two(mtp_model());  // the second one is not there, and nobody needs it
  two.config["num_nextn_predict_layers"] = 2;
  EXPECT_NO_THROW(Drafting(two.write(), with_draft_layer(), 8));
}

}  // namespace
}  // namespace moebox::test
