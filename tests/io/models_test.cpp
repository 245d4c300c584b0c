// The two real models, entry by entry as the `gguf` package reads them: golden/io/models.json, made by
// generate_models.py.
#include <cstdint>
#include <string>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "io/checkpoint.h"
#include "io/mapped_file.h"
#include "io_testing.h"

namespace moebox {
namespace {

std::string fnv1a(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

std::string text_of(bool value) { return value ? "true" : "false"; }
std::string text_of(std::int64_t value) { return std::to_string(value); }
std::string text_of(std::uint64_t value) { return std::to_string(value); }
std::string text_of(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%a", value);
  return text;
}
std::string text_of(std::string_view value) { return std::string(value); }
std::string text_of(const std::string& value) { return value; }

template <class T>
std::string text_of(const std::vector<T>& values) {
  std::string text = "[";
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text += ",";
    text += text_of(static_cast<T>(values[i]));
  }
  return text + "]";
}

class RealModel : public ::testing::TestWithParam<const char*> {
 protected:
  std::string file = GetParam();
  nlohmann::json expected = nlohmann::json::parse(test::read_file(test::golden / "models.json")).at(file);
  Checkpoint checkpoint = Checkpoint::open(std::string(MOEBOX_MODEL_DIR "/") + file);
};

TEST_P(RealModel, MetadataEqualTheReferenceReaders) {
  std::string listing;
  for (const auto& [key, value] : checkpoint.metadata()) {
    listing += key + " = " + std::visit([](const auto& v) { return text_of(v); }, value) + "\n";
  }
  for (const std::string line : expected.at("some_metadata"))
    EXPECT_NE(listing.find(line + "\n"), std::string::npos) << line;
  EXPECT_EQ(checkpoint.metadata().size(), expected.at("n_metadata"));
  EXPECT_EQ(fnv1a(listing), expected.at("metadata_fnv1a").get<std::string>());
}

TEST_P(RealModel, TensorsEqualTheReferenceReaders) {
  const MappedFile mapped(checkpoint.path());
  // The first tensor of the list tells where the data start, the rest follow in the same mapping.
  const std::string first = expected.at("some_tensors").at(0);
  const TensorView& anchor = checkpoint.tensors().at(0);
  const std::string before = fmt::format("{} {} {} ", anchor.name, name(anchor.dtype), shape_text(anchor));
  ASSERT_EQ(first.substr(0, before.size()), before);
  const std::int64_t anchor_offset = std::stoll(first.substr(before.size()));
  std::string listing;
  for (const TensorView& tensor : checkpoint.tensors()) {
    const std::int64_t offset = anchor_offset + (tensor.data.data() - anchor.data.data());
    listing += fmt::format("{} {} {} {} {}\n", tensor.name, name(tensor.dtype), shape_text(tensor), offset,
                           tensor.data.size());
    // The same bytes at that place of the file.
    EXPECT_EQ(tensor.data.front(), mapped.bytes()[static_cast<std::size_t>(offset)]);
    EXPECT_EQ(tensor.data.back(), mapped.bytes()[static_cast<std::size_t>(offset) + tensor.data.size() - 1]);
  }
  for (const std::string line : expected.at("some_tensors"))
    EXPECT_NE(listing.find(line + "\n"), std::string::npos) << line;
  EXPECT_EQ(checkpoint.tensors().size(), expected.at("n_tensors"));
  EXPECT_EQ(fnv1a(listing), expected.at("tensors_fnv1a").get<std::string>());
}

INSTANTIATE_TEST_SUITE_P(Both, RealModel,
                         ::testing::Values("smollm2-135m-instruct-q4_1.gguf",
                                           "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
                         [](const auto& instance) { return std::string(instance.param).substr(0, 4); });

}  // namespace
}  // namespace moebox
