// Conversions as a whole: the same answers as llama.cpp gives on what we write, the same numbers as the folder, and
// refusals by name.
#include "convert/convert.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include <gtest/gtest.h>

#include "base/float_types.h"
#include "convert/recipe.h"
#include "io/gguf_writer.h"
#include "io/io_testing.h"
#include "models/golden_data.h"

namespace moebox::test {
namespace {

namespace fs = std::filesystem;

ConvertReport convert_to(const fs::path& in, const fs::path& out, const std::string& type) {
  ConvertOptions options;
  options.type = type;
  options.measure_error = true;
  options.n_threads = 2;
  return convert(Checkpoint::open(in), out, options);
}

std::vector<float> all_logits(LoadedModel& loaded, const std::vector<TokenId>& tokens) {
  std::vector<int> positions(tokens.size());
  for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int>(i);
  return logits_at(loaded, tokens, positions, 64);
}

std::vector<TokenId> greedy(LoadedModel& loaded, std::vector<TokenId> tokens, std::size_t n) {
  std::vector<TokenId> chosen;
  while (chosen.size() < n) {
    const std::vector<int> last = {static_cast<int>(tokens.size()) - 1};
    const std::vector<float> logits = logits_at(loaded, tokens, last, 64);
    chosen.push_back(static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    tokens.push_back(chosen.back());
  }
  return chosen;
}

/// Changes a flag or a number in a file's metadata.
template <class T>
void set_value(const fs::path& path, const std::string& key, std::uint32_t type, T value) {
  std::string file = test::read_file(path);
  const std::string start = key + std::string(reinterpret_cast<const char*>(&type), sizeof type);
  const auto place = file.find(start);
  ASSERT_NE(place, std::string::npos) << key;
  std::memcpy(file.data() + place + start.size(), &value, sizeof value);
  write_file(path, file);
}

void set_value(const fs::path& path, const std::string& key, const nlohmann::json& value) {
  constexpr std::uint32_t type_u32 = 4, type_bool = 7;
  if (value.is_boolean())
    set_value(path, key, type_bool, value.get<bool>());
  else
    set_value(path, key, type_u32, value.get<std::uint32_t>());
}

// ---- beside llama.cpp ----

TEST(ConvertGolden, GreedyTokensEqualLlamaCpps) {
  for (const auto& entry : read_json(golden_dir() / "convert" / "greedy.json")) {
    const std::string model = entry.at("model"), type = entry.at("type");
    SCOPED_TRACE(model + " " + type);
    const TemporaryFolder folder;
    const ConvertReport report = convert_to(golden_dir() / model, folder / "m.gguf", type);
    EXPECT_FALSE(report.has_tokenizer);
    for (const auto& [key, value] : entry.at("changes").items()) set_value(folder / "m.gguf", key, value);
    LoadedModel loaded(folder / "m.gguf", KvType::f32, 1);
    const auto expected = entry.at("greedy").get<std::vector<TokenId>>();
    EXPECT_EQ(greedy(loaded, entry.at("prompt").get<std::vector<TokenId>>(), expected.size()), expected);
  }
}

// What llama.cpp's converter writes of a config.json without scoring_func, which is how transformers writes V3's.
TEST(ConvertGolden, AScoreThatAFileOfV3DoesNotStateIsASoftmaxAndTold) {
  const std::string key = "deepseek2.expert_gating_func";
  const auto entries = read_json(golden_dir() / "convert" / "greedy.json");
  const auto entry =
      std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return e.at("changes").contains(key); });
  ASSERT_NE(entry, entries.end());
  const TemporaryFolder folder;
  convert_to(golden_dir() / entry->at("model"), folder / "m.gguf", "F32");
  std::string file = test::read_file(folder / "m.gguf");
  file.replace(file.find(key), key.size(), std::string(key.size(), 'x'));
  write_file(folder / "m.gguf", file);
  testing::internal::CaptureStderr();
  LoadedModel loaded(folder / "m.gguf", KvType::f32, 1);
  EXPECT_NE(testing::internal::GetCapturedStderr().find(key), std::string::npos);
  const auto expected = entry->at("greedy").get<std::vector<TokenId>>();
  EXPECT_EQ(greedy(loaded, entry->at("prompt").get<std::vector<TokenId>>(), expected.size()), expected);
}

// ---- beside the folder ----

class ConvertModel : public testing::TestWithParam<const char*> {};

TEST_P(ConvertModel, SaysTheSameAsTheFolder) {
  const fs::path in = golden_dir() / GetParam();
  const TemporaryFolder folder;
  const ConvertReport report = convert_to(in, folder / "m.gguf", "F32");
  for (const ConvertedTensor& tensor : report.tensors) EXPECT_EQ(tensor.relative_error, 0) << tensor.name;
  LoadedModel before(in, KvType::f32, 1), after(folder / "m.gguf", KvType::f32, 1);
  std::vector<TokenId> tokens(80);
  std::mt19937 random(7);
  for (TokenId& id : tokens)
    id = static_cast<TokenId>(random() % static_cast<unsigned>(before.model->info().vocab_size));
  const std::vector<float> expected = all_logits(before, tokens), found = all_logits(after, tokens);
  // Sums over a head's values are taken in another order, and an absorbed matrix is another one's transpose: rounding.
  EXPECT_LE(relative_rms(found, expected), 2e-6);
}

INSTANTIATE_TEST_SUITE_P(Folders, ConvertModel,
                         testing::Values("transformers/models/llama_bias", "transformers/models/llama_gqa",
                                         "transformers/models/llama_linear", "transformers/models/llama_llama3",
                                         "transformers/models/llama_mha", "transformers/models/llama_yarn",
                                         "transformers/models/llama_yarn_attention_factor",
                                         "transformers/models/qwen2_tied", "transformers/models/qwen2_untied_yarn",
                                         "moe/models/deepseek_v2_attention", "moe/models/deepseek_v2_two_dense",
                                         "moe/models/deepseek_v3_no_dense", "moe/models/mixtral", "moe/models/olmoe",
                                         "moe/models/qwen3", "moe/models/qwen3moe", "deepseek/models/tiny-v2",
                                         "deepseek/models/tiny-v3", "deepseek/models/tiny-v3-yarn"),
                         [](const auto& instance) {
                           std::string name = fs::path(instance.param).filename();
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Convert, RefusesByNameWhatGgufCannotSay) {
  const std::pair<const char*, const char*> cases[] = {
      {"transformers/models/llama_dynamic", "rope_type"}, {"transformers/models/llama_yarn_mscale", "truncate"},
      {"moe/models/deepseek_odd", "attention_bias"},      {"moe/models/qwen2moe", "decoder_sparse_step"},
      {"moe/models/qwen3moe_step", "norm_topk_prob"},
  };
  for (const auto& [model, field] : cases) {
    const TemporaryFolder folder;
    expect_error(ErrorKind::unsupported, {field, "GGUF"},
                 [&, in = golden_dir() / model] { convert_to(in, folder / "m.gguf", "F16"); });
    EXPECT_TRUE(fs::is_empty(folder.path()));
  }
}

TEST(Convert, RefusesGatesAndLayersThatGgufCannotSayBeforeAnythingIsWritten) {
  const auto expect_refused = [](const char* model, const char* field, const nlohmann::json& value) {
    const TemporaryFolder folder;
    fs::create_directory(folder / "in");
    nlohmann::json config = read_json(golden_dir() / model / "config.json");
    config[field] = value;
    write_file(folder / "in" / "config.json", config.dump());
    fs::copy_file(golden_dir() / model / "model.safetensors", folder / "in" / "model.safetensors");
    ConvertOptions options;
    options.progress = [](std::uint64_t, std::uint64_t) {
      ADD_FAILURE() << "writing has begun";
      return true;
    };
    expect_error(ErrorKind::unsupported, {field},
                 [&] { convert(Checkpoint::open(folder / "in"), folder / "m.gguf", options); });
    EXPECT_FALSE(fs::exists(folder / "m.gguf"));
  };
  expect_refused("moe/models/qwen3moe", "mlp_only_layers", {1});
  expect_refused("moe/models/qwen3moe", "decoder_sparse_step", 2);
  expect_refused("moe/models/qwen2moe", "mlp_only_layers", {0, 2});
  expect_refused("moe/models/deepseek_v3_no_dense", "moe_layer_freq", 2);
  expect_refused("moe/models/deepseek_v3_no_dense", "routed_scaling_factor", 0.0);
  // RoPE's numbers of which GGUF's readers, ours among them, take less than a folder's.
  const auto scaling = [](const char* type, double theta, double attention_factor) {
    return nlohmann::json{{"rope_type", type},
                          {"rope_theta", theta},
                          {"factor", 16.0},
                          {"original_max_position_embeddings", 64},
                          {"attention_factor", attention_factor}};
  };
  const char* const yarn = "transformers/models/llama_yarn_attention_factor";
  expect_refused(yarn, "rope_scaling", scaling("yarn", 1e4, 90.0));
  expect_refused(yarn, "rope_scaling", scaling("yarn", 1e4, 1e-4));
  expect_refused(yarn, "rope_scaling", scaling("ntk", 1e14, 1.0));
}

// ---- from GGUF to GGUF ----

TEST(Convert, CopiesAllMetadataAndRequantizes) {
  const TemporaryFolder folder;
  const fs::path in = golden_dir() / "transformers/models/llama_gqa/f32.gguf";
  const ConvertReport report = convert_to(in, folder / "q.gguf", "Q8_0");
  EXPECT_FALSE(report.quantized_again);
  const Checkpoint before = Checkpoint::open(in), after = Checkpoint::open(folder / "q.gguf");
  for (const auto& [key, value] : before.metadata()) {
    if (key == "general.file_type" || key == "general.quantization_version") continue;
    ASSERT_NE(after.find(key), nullptr) << key;
    EXPECT_EQ(*after.find(key), value) << key;
  }
  EXPECT_EQ(after.integer("general.file_type"), 7);
  EXPECT_EQ(after.tensor("blk.0.attn_q.weight").dtype, DType::q8_0);
  EXPECT_EQ(after.tensor("blk.0.attn_norm.weight").dtype, DType::f32);
  for (const ConvertedTensor& tensor : report.tensors)
    EXPECT_LT(tensor.relative_error, tensor.to == DType::q8_0 ? 0.01 : 1e-9) << tensor.name;

  // A type that is there already is copied, byte by byte.
  const ConvertReport again = convert_to(folder / "q.gguf", folder / "same.gguf", "q8_0");
  EXPECT_FALSE(again.quantized_again);
  EXPECT_EQ(test::read_file(folder / "same.gguf"), test::read_file(folder / "q.gguf"));
  EXPECT_TRUE(convert_to(folder / "q.gguf", folder / "less.gguf", "Q4_0").quantized_again);
}

TEST(Convert, WritesTheSameBytesOnAnyNumberOfThreads) {
  const TemporaryFolder folder;
  const Checkpoint in = Checkpoint::open(golden_dir() / "deepseek/models/tiny-v3");
  for (const int n : {1, 3}) {
    ConvertOptions options;
    options.type = "Q4_K_M";
    options.n_threads = n;
    convert(in, folder / std::to_string(n), options);
  }
  EXPECT_EQ(test::read_file(folder / "1"), test::read_file(folder / "3"));
}

// ---- a tensor for each expert: Mixtral's files from before April 2024 ----

/// The experts of a file with one tensor for all of a layer's, apart. `edit` may change an expert's name; an empty one
/// leaves it out.
void write_experts_apart(const fs::path& from, const fs::path& to,
                         const std::function<std::string(std::string)>& edit = {}) {
  const Checkpoint stacked = Checkpoint::open(from);
  GgufHeader header;
  for (const GgufPair& pair : stacked.encoded_metadata()) header.set_encoded(pair.key, pair.value);
  std::vector<std::span<const std::byte>> parts;
  const auto add = [&](const std::string& name, DType dtype, std::span<const std::int64_t> shape,
                       std::span<const std::byte> data) {
    header.add_tensor(name, dtype, shape);
    parts.push_back(data);
  };
  for (const TensorView& view : stacked.tensors()) {
    const auto mark = view.name.find("_exps.");
    const std::span<const std::int64_t> shape(view.shape.data(), static_cast<std::size_t>(view.rank));
    if (mark == std::string::npos) {
      add(view.name, view.dtype, shape, view.data);
      continue;
    }
    const auto n = static_cast<std::size_t>(shape.front());
    for (std::size_t e = 0; e < n; ++e) {
      std::string name = view.name.substr(0, mark) + "." + std::to_string(e) + ".weight";
      if (edit) name = edit(name);
      if (!name.empty())
        add(name, view.dtype, shape.subspan(1), view.data.subspan(e * view.data.size() / n, view.data.size() / n));
    }
  }
  OutputFile file(to, true);
  GgufStream stream(file, header);
  for (const auto part : parts) stream.write(part);
  file.commit();
}

class ExpertsApart : public testing::Test {
 protected:
  ExpertsApart() {
    convert_to(golden_dir() / "moe/models/mixtral", folder_ / "stacked.gguf", "F32");
    write_experts_apart(folder_ / "stacked.gguf", folder_ / "apart.gguf");
  }
  void expect_refused(const std::string& named, const std::function<std::string(std::string)>& edit) {
    write_experts_apart(folder_ / "stacked.gguf", folder_ / "bad.gguf", edit);
    for (const bool load : {true, false}) {
      try {
        if (load)
          LoadedModel(folder_ / "bad.gguf", KvType::f32, 1);
        else
          convert_to(folder_ / "bad.gguf", folder_ / "x.gguf", "Q8_0");
        ADD_FAILURE() << (load ? "loaded" : "converted") << " in spite of " << named;
      } catch (const Error& error) {
        EXPECT_NE(error.kind(), ErrorKind::internal);
        EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
      }
    }
    EXPECT_FALSE(fs::exists(folder_ / "x.gguf"));
  }
  const TemporaryFolder folder_;
};

TEST_F(ExpertsApart, SayWhatTransformersSays) {
  for (const auto& entry : read_json(golden_dir() / "moe" / "cases.json")) {
    if (entry.at("model") != "mixtral") continue;
    const auto tokens = entry.at("tokens").get<std::vector<TokenId>>();
    const auto positions = entry.at("positions").get<std::vector<int>>();
    LoadedModel apart(folder_ / "apart.gguf", KvType::f32, 1), stacked(folder_ / "stacked.gguf", KvType::f32, 1);
    const std::vector<float> logits = logits_at(apart, tokens, positions, 64);
    EXPECT_LE(largest_difference(logits, read_npy(golden_dir() / "moe" / "mixtral.logits.npy").as<float>()),
              2 * entry.at("tolerance").get<double>());
    EXPECT_EQ(logits, logits_at(stacked, tokens, positions, 64));
    return;
  }
  FAIL() << "no case";
}

TEST_F(ExpertsApart, AreWrittenAsOneTensor) {
  for (const char* type : {"F32", "Q4_0", "Q4_K_M"}) {
    convert_to(folder_ / "apart.gguf", folder_ / "a.gguf", type);
    convert_to(folder_ / "stacked.gguf", folder_ / "b.gguf", type);
    EXPECT_EQ(test::read_file(folder_ / "a.gguf"), test::read_file(folder_ / "b.gguf")) << type;
    fs::remove(folder_ / "a.gguf");
    fs::remove(folder_ / "b.gguf");
  }
  // Blocks are copied as they are, from every part.
  convert_to(folder_ / "stacked.gguf", folder_ / "q.gguf", "Q8_0");
  write_experts_apart(folder_ / "q.gguf", folder_ / "q_apart.gguf");
  convert_to(folder_ / "q_apart.gguf", folder_ / "q_again.gguf", "Q8_0");
  EXPECT_EQ(test::read_file(folder_ / "q_again.gguf"), test::read_file(folder_ / "q.gguf"));
}

TEST_F(ExpertsApart, MissingAndExtraOnesAreRefusedByName) {
  const auto rename = [](const std::string& from, const std::string& to) {
    return [=](std::string name) { return name == from ? to : name; };
  };
  expect_refused("blk.1.ffn_up", rename("blk.1.ffn_up.3.weight", ""));
  expect_refused("blk.1.ffn_up", rename("blk.1.ffn_up.5.weight", "blk.1.ffn_up.6.weight"));
  expect_refused("blk.2.ffn_down", rename("blk.2.ffn_down.0.weight", ""));
  expect_refused("blk.0.ffn_gate", rename("blk.0.ffn_gate.1.weight", "blk.0.ffn_gate.1048577.weight"));
}

// ---- FP8 ----

TEST(Convert, ReadsFp8WithItsFactors) {
  const TemporaryFolder folder;
  // tiny-v3 with one matrix in FP8: (64, 96), so one block of factors.
  const fs::path from = golden_dir() / "deepseek/models/tiny-v3";
  nlohmann::json config = read_json(from / "config.json");
  config["quantization_config"] = {{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {128, 128}}};
  write_file(folder / "config.json", config.dump());
  const Checkpoint plain = Checkpoint::open(from);
  const std::string name = "model.layers.0.mlp.down_proj.weight";
  std::string header = "{", data;
  const auto add = [&](const std::string& tensor, const char* type, const std::vector<std::int64_t>& shape,
                       const std::string& bytes) {
    header +=
        (header.size() > 1 ? "," : "") + nlohmann::json(tensor).dump() + ":" +
        nlohmann::json({{"dtype", type}, {"shape", shape}, {"data_offsets", {data.size(), data.size() + bytes.size()}}})
            .dump();
    data += bytes;
  };
  for (const TensorView& view : plain.tensors()) {
    if (view.name == name) continue;
    add(view.name, view.dtype == DType::f32 ? "F32" : "BF16", {view.shape.begin(), view.shape.begin() + view.rank},
        {reinterpret_cast<const char*>(view.data.data()), view.data.size()});
  }
  add(name, "F8_E4M3", {64, 96}, std::string(64 * 96, '\x38'));  // 1.0
  const float factor = 0.25f;
  add(name + "_scale_inv", "F32", {1, 1}, {reinterpret_cast<const char*>(&factor), 4});
  header += "}";
  write_file(folder / "model.safetensors", safetensors_file(header, 0) + data);
  convert_to(folder.path(), folder / "m.gguf", "F32");
  const Checkpoint after = Checkpoint::open(folder / "m.gguf");
  float value;
  for (const std::size_t i : {0, 64 * 96 - 1}) {
    std::memcpy(&value, after.tensor("blk.0.ffn_down.weight").data.data() + 4 * i, 4);
    EXPECT_EQ(value, 0.25f);
  }
}

// ---- what goes wrong ----

/// A GGUF with one matrix of these values.
void write_matrix(const fs::path& path, const std::vector<float>& values) {
  GgufHeader header;
  header.set_string("general.architecture", "unheard-of");
  header.add_tensor("blk.0.weird.weight", DType::f32,
                    std::vector<std::int64_t>{2, static_cast<std::int64_t>(values.size()) / 2});
  OutputFile file(path, true);
  GgufStream stream(file, header);
  stream.write(std::as_bytes(std::span(values)));
  file.commit();
}

TEST(Convert, RefusesNumbersThatAreNoneByTensor) {
  const TemporaryFolder folder;
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> values(512, 1.0f);
    values[300] = bad;
    write_matrix(folder / "bad.gguf", values);
    for (const char* type : {"F32", "Q4_0", "Q4_K_M", "F16"})
      expect_error(ErrorKind::invalid_file, {"blk.0.weird.weight", "NaN"},
                   [&] { convert_to(folder / "bad.gguf", folder / "x", type); });
  }
  write_matrix(folder / "bad.gguf", std::vector<float>(512, 1e5f));
  expect_error(ErrorKind::invalid_file, {"blk.0.weird.weight", "F16", "BF16"},
               [&] { convert_to(folder / "bad.gguf", folder / "x", "F16"); });
  EXPECT_FALSE(fs::exists(folder / "x"));
  convert_to(folder / "bad.gguf", folder / "x", "BF16");
  EXPECT_TRUE(fs::exists(folder / "x"));
}

TEST(Convert, StopsWhenToldAndLeavesNothing) {
  const TemporaryFolder folder;
  const Checkpoint in = Checkpoint::open(golden_dir() / "deepseek/models/tiny-v3");
  int calls = 0;
  ConvertOptions options;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_LE(done, total);
    return ++calls < 5;
  };
  expect_error(ErrorKind::cancelled, {"interrupted"}, [&] { convert(in, folder / "x", options); });
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Convert, RefusesToWriteOverWhatIsThere) {
  const TemporaryFolder folder;
  write_matrix(folder / "in.gguf", std::vector<float>(512, 1.0f));
  fs::create_symlink(folder / "in.gguf", folder / "same.gguf");
  const Checkpoint in = Checkpoint::open(folder / "in.gguf");
  ConvertOptions options;
  options.replace = true;
  expect_error(ErrorKind::invalid_argument, {"is what is read"}, [&] { convert(in, folder / "same.gguf", options); });
  write_file(folder / "out", "mine");
  options.replace = false;
  expect_error(ErrorKind::invalid_argument, {"there already"}, [&] { convert(in, folder / "out", options); });
  EXPECT_EQ(test::read_file(folder / "out"), "mine");
  options.type = "Q9_9";
  expect_error(ErrorKind::invalid_argument, {"Q9_9", "Q4_K_M"}, [&] { convert(in, folder / "new", options); });
}

}  // namespace
}  // namespace moebox::test
