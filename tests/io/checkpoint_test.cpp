// Checkpoint: typed look-ups, split GGUF files, Hugging Face folders, and what is refused.
#include "io/checkpoint.h"

#include <cstring>
#include <string>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "io_testing.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using test::GgufBuilder;
using test::golden;
using test::TemporaryFolder;
using test::write_file;

TEST(Checkpoint, TypedLookUpsAreStrict) {
  const Checkpoint checkpoint = Checkpoint::open(golden / "small.gguf");
  EXPECT_EQ(checkpoint.format(), Checkpoint::Format::gguf);
  EXPECT_EQ(checkpoint.file_bytes(), fs::file_size(golden / "small.gguf"));
  EXPECT_TRUE(checkpoint.config().is_null());
  EXPECT_EQ(checkpoint.integer("t.u32"), 4000000000);
  EXPECT_EQ(checkpoint.integer("t.i64"), INT64_MIN);
  EXPECT_EQ(checkpoint.number("t.f64"), 0.1);
  EXPECT_EQ(checkpoint.number("t.i8"), -100.0);
  EXPECT_EQ(checkpoint.number("t.u8"), 200.0);
  EXPECT_EQ(checkpoint.boolean("t.bool"), true);
  EXPECT_EQ(checkpoint.string("general.architecture"), "test");
  EXPECT_EQ(checkpoint.integer("no.such", 7), 7);
  EXPECT_EQ(checkpoint.number("no.such", 0.5), 0.5);
  EXPECT_EQ(checkpoint.boolean("no.such", true), true);
  EXPECT_EQ(checkpoint.string("no.such", "x"), "x");

  const auto invalid = [](const std::string& key, const std::string& expected, const auto& action) {
    expect_error(ErrorKind::invalid_file, {"small.gguf", "'" + key + "'", expected}, action);
  };
  invalid("t.f32", "expected an integer, found a number", [&] { checkpoint.integer("t.f32"); });
  invalid("t.bool", "expected an integer, found a boolean", [&] { checkpoint.integer("t.bool"); });
  invalid("t.string", "expected an integer, found a string", [&] { checkpoint.integer("t.string", 1); });
  invalid("t.u64", "out of range", [&] { checkpoint.integer("t.u64"); });
  // A u8 array read as a float once read beyond the buffer.
  invalid("t.bytes", "expected a number, found an array of integers", [&] { checkpoint.number("t.bytes"); });
  invalid("t.bool", "expected a number, found a boolean", [&] { checkpoint.number("t.bool"); });
  invalid("t.u8", "expected a boolean", [&] { checkpoint.boolean("t.u8"); });
  invalid("t.strings", "expected a string, found an array of strings", [&] { checkpoint.string("t.strings"); });
  for (const auto& action : std::vector<std::function<void()>>{
           [&] { checkpoint.integer("no.such"); }, [&] { checkpoint.number("no.such"); },
           [&] { checkpoint.boolean("no.such"); }, [&] { checkpoint.string("no.such"); }}) {
    expect_error(ErrorKind::not_found, {"'no.such'", "missing"}, action);
  }
}

TEST(Checkpoint, TensorsAreFoundByName) {
  Checkpoint first = Checkpoint::open(golden / "small.gguf");
  const Checkpoint checkpoint = std::move(first);  // views stay valid
  EXPECT_EQ(checkpoint.tensor("blocks.q8_0").dtype, DType::q8_0);
  EXPECT_EQ(checkpoint.find_tensor("vector.f32"), &checkpoint.tensors()[3]);
  EXPECT_EQ(checkpoint.find_tensor("vector"), nullptr);
  expect_error(ErrorKind::not_found, {"small.gguf", "'output.weight'"}, [&] { checkpoint.tensor("output.weight"); });
}

TEST(Checkpoint, WhatIsNotAModelIsRefused) {
  const TemporaryFolder folder;
  expect_error(ErrorKind::not_found, {"none.gguf"}, [&] { Checkpoint::open(folder / "none.gguf"); });
  expect_error(ErrorKind::not_found, {"config.json"}, [&] { Checkpoint::open(folder.path()); });
  write_file(folder / "empty.gguf", "");
  expect_error(ErrorKind::invalid_file, {"empty.gguf", "'GGUF'"}, [&] { Checkpoint::open(folder / "empty.gguf"); });
  expect_error(ErrorKind::io, {"/dev/zero", "regular file"}, [] { Checkpoint::open("/dev/zero"); });
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_error(ErrorKind::io, {"pipe", "regular file"}, [&] { Checkpoint::open(folder / "pipe"); });
  expect_error(ErrorKind::invalid_argument, {"give the folder"},
               [] { Checkpoint::open(golden / "hf_single/model.safetensors"); });
}

// ---- split GGUF files -----------------------------------------------------------------------------------------------

TEST(SplitCheckpoint, AnyPartOpensAll) {
  const Checkpoint whole = Checkpoint::open(golden / "small.gguf");
  for (const char* part : {"small-00001-of-00002.gguf", "small-00002-of-00002.gguf"}) {
    const Checkpoint checkpoint = Checkpoint::open(golden / "split" / part);
    EXPECT_EQ(checkpoint.files().size(), 2u);
    EXPECT_EQ(checkpoint.file_bytes(), fs::file_size(checkpoint.files()[0]) + fs::file_size(checkpoint.files()[1]));
    EXPECT_EQ(checkpoint.integer("t.u32"), 4000000000);
    ASSERT_EQ(checkpoint.tensors().size(), whole.tensors().size());
    for (std::size_t i = 0; i < whole.tensors().size(); ++i) {
      const TensorView& expected = whole.tensors()[i];
      const TensorView& found = checkpoint.tensors()[i];
      EXPECT_EQ(found.name, expected.name);
      EXPECT_EQ(shape_text(found), shape_text(expected));
      ASSERT_EQ(found.data.size(), expected.data.size());
      EXPECT_EQ(std::memcmp(found.data.data(), expected.data.data(), found.data.size()), 0);
    }
  }
}

/// Part `part` of `n_parts` with one tensor; the numbers in the metadata may lie.
void write_part(const fs::path& path, int part, int n_parts, int n_tensors, const char* tensor) {
  GgufBuilder builder(1, 3);
  builder.key("split.no", 2).number(static_cast<std::uint16_t>(part));
  builder.key("split.count", 2).number(static_cast<std::uint16_t>(n_parts));
  builder.key("split.tensors.count", 5).number(std::int32_t{n_tensors});
  write_file(path, builder.tensor(tensor, {8}, 0, 0).data(32).bytes());
}

TEST(SplitCheckpoint, PartsThatLieAreRefused) {
  const TemporaryFolder folder;
  const auto first = folder / "m-00001-of-00002.gguf";
  const auto second = folder / "m-00002-of-00002.gguf";
  const auto expect_invalid = [&](std::initializer_list<std::string_view> parts) {
    expect_error(ErrorKind::invalid_file, parts, [&] { Checkpoint::open(first); });
  };
  write_part(first, 0, 2, 2, "a");
  expect_error(ErrorKind::not_found, {"m-00002-of-00002.gguf"}, [&] { Checkpoint::open(first); });
  write_part(second, 1, 2, 2, "b");
  EXPECT_EQ(Checkpoint::open(second).tensors().size(), 2u);

  write_part(second, 1, 2, 2, "a");
  expect_invalid({"tensor 'a'", "two tensors"});
  write_part(second, 0, 2, 2, "b");
  expect_invalid({"m-00002", "split.no = 1, found 0"});
  write_part(second, 1, 3, 2, "b");
  expect_invalid({"m-00002", "split.count = 2, found 3"});
  write_part(second, 1, 2, 2, "b");
  write_part(first, 0, 65535, 2, "a");
  expect_invalid({"m-00001", "split.count = 2, found 65535"});
  write_part(first, 0, 2, -1, "a");
  expect_invalid({"split.tensors.count = 2, found -1"});
  write_part(first, 0, 2, 3, "a");
  expect_invalid({"split.tensors.count = 2, found 3"});
  write_file(first, GgufBuilder(1).tensor("a", {8}, 0, 0).data(32).bytes());
  expect_invalid({"m-00001", "split.count = 2, found none"});

  write_part(folder / "renamed.gguf", 0, 2, 2, "a");
  expect_error(ErrorKind::invalid_file, {"renamed.gguf", "split.count = 1, found 2"},
               [&] { Checkpoint::open(folder / "renamed.gguf"); });
}

// ---- Hugging Face folders -------------------------------------------------------------------------------------------

TEST(HfCheckpoint, SingleAndShardedFoldersHaveTheSameTensors) {
  const Checkpoint single = Checkpoint::open(golden / "hf_single");
  const Checkpoint sharded = Checkpoint::open(golden / "hf_sharded");
  for (const Checkpoint* checkpoint : {&single, &sharded}) {
    EXPECT_EQ(checkpoint->format(), Checkpoint::Format::hugging_face);
    EXPECT_EQ(checkpoint->config().at("hidden_size"), 3);
    EXPECT_TRUE(checkpoint->metadata().empty());
    EXPECT_EQ(checkpoint->tensors().size(), 3u);
    EXPECT_EQ(shape_text(checkpoint->tensor("a.f32")), "(2, 3)");
    EXPECT_EQ(checkpoint->tensor("b.f16").dtype, DType::f16);
    EXPECT_EQ(checkpoint->tensor("c.bf16").data.size(), 6u);
  }
  EXPECT_EQ(single.files().size(), 1u);
  EXPECT_EQ(sharded.files().size(), 2u);
}

class HfFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    write_file(folder / "config.json", "{}");
    write_file(folder / "a.safetensors", one_tensor("a"));
    write_file(folder / "b.safetensors", one_tensor("b"));
  }

  static std::string one_tensor(const char* name) {
    return test::safetensors_file(fmt::format(R"({{"{}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}})", name),
                                  4);
  }

  void write_index(std::string_view weight_map) {
    write_file(folder / "model.safetensors.index.json", fmt::format(R"({{"weight_map":{}}})", weight_map));
  }

  void expect_invalid(std::initializer_list<std::string_view> parts) {
    expect_error(ErrorKind::invalid_file, parts, [&] { Checkpoint::open(folder.path()); });
  }

  TemporaryFolder folder;
};

TEST_F(HfFolder, TheIndexNamesFilesOfThisFolderOnly) {
  write_index(R"({"a":"a.safetensors","b":"b.safetensors"})");
  EXPECT_EQ(Checkpoint::open(folder.path()).tensors().size(), 2u);
  for (const char* file : {"../x.safetensors", "/etc/x.safetensors", "..", ".", "", "/etc/passwd", "sub/a.safetensors",
                           "..\\\\x.safetensors", "a.safetensors\\u0000.safetensors", "a.bin"}) {
    write_index(fmt::format(R"({{"a":"{}"}})", file));
    expect_invalid({"index.json", "weight_map of 'a'"});
  }
}

TEST_F(HfFolder, TheIndexAndTheFilesAgree) {
  write_index(R"({"a":"a.safetensors","b":"a.safetensors"})");
  expect_invalid({"a.safetensors", "'b'", "it is not"});
  write_index(R"({"a":"b.safetensors","b":"b.safetensors"})");
  expect_invalid({"b.safetensors"});
  write_index(R"({"a":"a.safetensors","b":"b.safetensors","c":"b.safetensors"})");
  expect_invalid({"'c'", "it is not"});
  write_file(folder / "b.safetensors", one_tensor("a"));
  write_index(R"({"a":"a.safetensors","b":"b.safetensors"})");
  expect_invalid({"b.safetensors", "the index does not say that tensor 'a'"});
  write_index(R"({"a":"a.safetensors","b":"gone.safetensors"})");
  expect_error(ErrorKind::not_found, {"gone.safetensors"}, [&] { Checkpoint::open(folder.path()); });
}

TEST_F(HfFolder, AnIndexOfAnotherShapeIsRefused) {
  for (const char* map : {"[]", "1", "null", R"({"a":1})", R"({"a":["a.safetensors"]})", "{}"}) {
    write_index(map);
    expect_invalid({"index.json", "weight_map"});
  }
  write_index(R"({"a":"a.safetensors","a":"b.safetensors"})");
  expect_invalid({"index.json", "'a' occurs twice"});
  write_file(folder / "model.safetensors.index.json", "[]");
  expect_invalid({"weight_map"});
}

TEST_F(HfFolder, TheConfigurationIsAnObject) {
  for (const char* text : {"", "[]", "1", "{", "\xff", R"({"a":1,"a":2})"}) {
    write_file(folder / "config.json", text);
    expect_invalid({"config.json"});
  }
  fs::remove(folder / "config.json");
  expect_error(ErrorKind::not_found, {"config.json"}, [&] { Checkpoint::open(folder.path()); });
}

TEST_F(HfFolder, PickledWeightsAreNotAModel) {
  write_file(folder / "pytorch_model.bin", "x");
  expect_error(ErrorKind::not_found, {"model.safetensors"}, [&] { Checkpoint::open(folder.path()); });
}

}  // namespace
}  // namespace moebox
