// GGUF files as they should be: small.gguf was written by the `gguf` package (golden/io/generate_files.py).
#include "io/gguf.h"

#include <cstring>

#include <gtest/gtest.h>

#include "io_testing.h"

namespace moebox {
namespace {

using test::exact_bytes;
using test::expect_error;
using test::GgufBuilder;

template <class T>
const T& value(const GgufFile& file, const char* key) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end()) throw Error(ErrorKind::not_found, key);
  return std::get<T>(found->second);
}

class SmallGguf : public ::testing::Test {
 protected:
  std::vector<std::byte> bytes = exact_bytes(test::read_file(test::golden / "small.gguf"));
  GgufFile file = parse_gguf(bytes, "small.gguf");
};

TEST_F(SmallGguf, EveryValueTypeIsRead) {
  EXPECT_EQ(value<std::uint64_t>(file, "t.u8"), 200u);
  EXPECT_EQ(value<std::int64_t>(file, "t.i8"), -100);
  EXPECT_EQ(value<std::uint64_t>(file, "t.u16"), 60000u);
  EXPECT_EQ(value<std::int64_t>(file, "t.i16"), -30000);
  EXPECT_EQ(value<std::uint64_t>(file, "t.u32"), 4000000000u);
  EXPECT_EQ(value<std::int64_t>(file, "t.i32"), -2000000000);
  EXPECT_EQ(value<double>(file, "t.f32"), double{0.1f});
  EXPECT_EQ(value<std::uint64_t>(file, "t.u64"), UINT64_MAX);
  EXPECT_EQ(value<std::int64_t>(file, "t.i64"), INT64_MIN);
  EXPECT_EQ(value<double>(file, "t.f64"), 0.1);
  EXPECT_EQ(value<bool>(file, "t.bool"), true);
  EXPECT_EQ(value<std::string>(file, "t.string"), "中文 and emoji 🙂");
  EXPECT_EQ(value<std::vector<std::string_view>>(file, "t.strings"),
            (std::vector<std::string_view>{"", "a", "b c", "\xc3\xa9"}));
  EXPECT_EQ(value<std::vector<std::int64_t>>(file, "t.integers"), (std::vector<std::int64_t>{1, -2, 3}));
  EXPECT_EQ(value<std::vector<double>>(file, "t.numbers"), (std::vector<double>{0.5, -1.5}));
  EXPECT_EQ(value<std::vector<bool>>(file, "t.booleans"), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(value<std::vector<std::int64_t>>(file, "t.bytes"), (std::vector<std::int64_t>{0, 127, 255}));
  EXPECT_EQ(file.metadata.size(), 18u);  // and general.architecture
}

TEST_F(SmallGguf, ArraysOfStringsStayInTheFile) {
  for (const std::string_view text : value<std::vector<std::string_view>>(file, "t.strings")) {
    EXPECT_GE(text.data(), reinterpret_cast<const char*>(bytes.data()));
    EXPECT_LE(text.data() + text.size(), reinterpret_cast<const char*>(bytes.data() + bytes.size()));
  }
}

TEST_F(SmallGguf, TensorsHaveTheirShapeSlowestFirstAndTheirData) {
  ASSERT_EQ(file.tensors.size(), 4u);
  const TensorView& matrix = file.tensors[0];
  EXPECT_EQ(matrix.name, "matrix.f32");
  EXPECT_EQ(shape_text(matrix), "(3, 4)");
  for (int i = 0; i < 12; ++i) {
    float element;
    std::memcpy(&element, matrix.data.data() + 4 * i, 4);
    EXPECT_EQ(element, static_cast<float>(i));
  }
  EXPECT_EQ(shape_text(file.tensors[1]), "(2, 3, 5)");
  EXPECT_EQ(file.tensors[1].dtype, DType::f16);
  EXPECT_EQ(file.tensors[1].data.size(), 60u);
  EXPECT_EQ(shape_text(file.tensors[2]), "(2, 64)");
  EXPECT_EQ(file.tensors[2].dtype, DType::q8_0);
  ASSERT_EQ(file.tensors[2].data.size(), 136u);
  for (int i = 0; i < 136; ++i) EXPECT_EQ(static_cast<int>(file.tensors[2].data[static_cast<std::size_t>(i)]), i);
  EXPECT_EQ(shape_text(file.tensors[3]), "(3)");
}

TEST(Gguf, Version2IsReadAndOthersAreRefusedByName) {
  const auto bytes = [](std::uint32_t version) { return exact_bytes(GgufBuilder(0, 0, version).bytes()); };
  EXPECT_NO_THROW(parse_gguf(bytes(2), "v2"));
  EXPECT_NO_THROW(parse_gguf(bytes(3), "v3"));
  expect_error(ErrorKind::unsupported, {"old.gguf", "version 2 or 3, found 1"},
               [&] { parse_gguf(bytes(1), "old.gguf"); });
  expect_error(ErrorKind::unsupported, {"found 4"}, [&] { parse_gguf(bytes(4), "new.gguf"); });
  expect_error(ErrorKind::unsupported, {"big-endian"}, [&] { parse_gguf(bytes(0x03000000), "ppc.gguf"); });
}

TEST(Gguf, OtherFilesAreRefusedWithWhatWasFound) {
  for (const char* text : {"", "G", "GGU", "<htm", "ggml\x01\x02\x03", "version https"}) {
    expect_error(ErrorKind::invalid_file, {"starts with 'GGUF'"}, [&] { parse_gguf(exact_bytes(text), "x"); });
  }
  expect_error(ErrorKind::invalid_file, {"'\\xff\\x00\\x01A'"}, [&] {
    parse_gguf(exact_bytes({"\xff\x00\x01"
                            "ABC",
                            6}),
               "x");
  });
}

TEST(Gguf, TheAlignmentOfTheFileHolds) {
  GgufBuilder builder(2, 1);
  builder.key("general.alignment", 4).number(std::uint32_t{128});
  builder.tensor("a", {4}, 0, 0).tensor("b", {4}, 0, 128).data(144, 128);
  const auto bytes = exact_bytes(builder.bytes());
  const GgufFile file = parse_gguf(bytes, "aligned.gguf");
  EXPECT_EQ(file.tensors[0].data.data(), bytes.data() + bytes.size() - 144);
  EXPECT_EQ(file.tensors[1].data.data(), bytes.data() + bytes.size() - 16);
}

TEST(Gguf, AScalarHasNoDimensions) {
  const auto bytes = exact_bytes(GgufBuilder(1).tensor("s", {}, 0, 0).data(4).bytes());
  const GgufFile file = parse_gguf(bytes, "scalar.gguf");
  EXPECT_EQ(shape_text(file.tensors[0]), "()");
  EXPECT_EQ(file.tensors[0].data.size(), 4u);
}

}  // namespace
}  // namespace moebox
