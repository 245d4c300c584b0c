// safetensors files, right (written by the `safetensors` package) and wrong.
#include "io/safetensors.h"

#include <cstring>
#include <string>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "io_testing.h"

namespace moebox {
namespace {

using test::exact_bytes;
using test::expect_error;
using test::safetensors_file;

/// Every message starts with the file's name.
void expect_refused(ErrorKind kind, std::string_view file, std::initializer_list<std::string_view> parts) {
  const auto bytes = exact_bytes(file);
  expect_error(kind, {"bad.safetensors: "}, [&] { parse_safetensors(bytes, "bad.safetensors"); });
  expect_error(kind, parts, [&] { parse_safetensors(bytes, "bad.safetensors"); });
}

void expect_invalid(std::string_view header, std::size_t n_data_bytes, std::initializer_list<std::string_view> parts) {
  expect_refused(ErrorKind::invalid_file, safetensors_file(header, n_data_bytes), parts);
}

TEST(Safetensors, ReadsWhatThePackageWrote) {
  const auto bytes = exact_bytes(test::read_file(test::golden / "hf_single/model.safetensors"));
  const std::vector<TensorView> tensors = parse_safetensors(bytes, "golden");
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].name, "a.f32");
  EXPECT_EQ(tensors[0].dtype, DType::f32);
  EXPECT_EQ(shape_text(tensors[0]), "(2, 3)");
  for (int i = 0; i < 6; ++i) {
    float value;
    std::memcpy(&value, tensors[0].data.data() + 4 * i, 4);
    EXPECT_EQ(value, static_cast<float>(i));
  }
  EXPECT_EQ(tensors[1].name, "c.bf16");
  EXPECT_EQ(tensors[1].dtype, DType::bf16);
  EXPECT_EQ(shape_text(tensors[1]), "(1, 3)");
  EXPECT_EQ(tensors[2].name, "b.f16");
  EXPECT_EQ(tensors[2].dtype, DType::f16);
  EXPECT_EQ(tensors[2].data.data() + tensors[2].data.size(), bytes.data() + bytes.size());
}

TEST(Safetensors, TensorsComeInTheOrderOfTheirDataWhateverTheHeadersOrder) {
  const auto bytes = exact_bytes(safetensors_file(
      R"({"b":{"data_offsets":[4,8],"shape":[1],"dtype":"F32"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   )",
      8));
  const auto tensors = parse_safetensors(bytes, "x");
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].rank, 0);
  EXPECT_EQ(tensors[1].name, "b");
}

TEST(Safetensors, AnEmptyModelIsValid) {
  EXPECT_TRUE(parse_safetensors(exact_bytes(safetensors_file("{}", 0)), "x").empty());
}

TEST(HostileSafetensors, HeaderLengthsThatLie) {
  const auto with_length = [](std::uint64_t length, std::string_view rest) {
    return std::string(reinterpret_cast<const char*>(&length), 8) + std::string(rest);
  };
  expect_refused(ErrorKind::invalid_file, "", {"header's length"});
  expect_refused(ErrorKind::invalid_file, "1234567", {"header's length"});
  expect_refused(ErrorKind::invalid_file, with_length(UINT64_MAX, "{}"), {"18446744073709551615"});
  expect_refused(ErrorKind::invalid_file, with_length(UINT64_MAX - 7, "{}"), {"header"});  // plus 8: zero
  expect_refused(ErrorKind::invalid_file, with_length(3, "{}"), {"3 bytes"});
  expect_refused(ErrorKind::invalid_file, with_length(0, "{}"), {"'{'"});
  expect_refused(ErrorKind::invalid_file, with_length(1, "{}"), {"not valid JSON"});
  expect_refused(ErrorKind::invalid_file, with_length(100'000'001, std::string(100'000'001, ' ')),
                 {"at most 100000000"});
}

TEST(HostileSafetensors, HeadersThatAreNotTheFormats) {
  expect_invalid("[]", 0, {"'{'"});
  expect_invalid("  {}", 0, {"'{'"});
  expect_invalid("{} x", 0, {"not valid JSON"});
  expect_invalid("{}{}", 0, {"not valid JSON"});
  expect_invalid(R"({"a":1})", 0, {"tensor 'a'", "number 1"});
  expect_invalid(R"({"a":null})", 0, {"null"});
  expect_invalid(R"({"a":[]})", 0, {"an array"});
  expect_invalid(R"({"a":{}})", 0, {"must have dtype, shape and data_offsets"});
  expect_invalid(R"({"a":{"dtype":"F32","shape":[1]}})", 4, {"must have"});
  expect_invalid(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"extra":1}})", 4, {"'extra'"});
  expect_invalid(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, {"negative"});
  expect_invalid(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, {"not whole"});
  expect_invalid(R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", 4, {"a string"});
  expect_invalid(R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, {"an array"});
  expect_invalid(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, {"two numbers"});
  expect_invalid(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4, {"number 4"});
  expect_invalid(R"({"a":{"dtype":0,"shape":[1],"data_offsets":[0,4]}})", 4, {"number 0"});
  expect_invalid(R"({"__metadata__":{"a":1}})", 0, {"number 1"});
  expect_invalid(R"({"__metadata__":{"a":{}}})", 0, {"an object"});
  expect_invalid(R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, {"name"});
  expect_invalid("{\"" + std::string(1025, 'n') + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
                 {"name", "1024"});
  expect_invalid(std::string(1'000'000, '{'), 0, {"not valid JSON"});
  expect_invalid(R"({"a":{"dtype":"F32","shape":)" + std::string(1'000'000, '['), 0, {"an array"});
}

TEST(HostileSafetensors, KeysThatOccurTwice) {
  const std::string a = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  expect_invalid("{" + a + "," + a + "}", 4, {"tensor 'a'", "two tensors"});
  expect_invalid("{" + a + R"(,"\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, {"two tensors"});
  expect_invalid(R"({"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}})", 4,
                 {"'dtype' occurs twice"});
  expect_invalid(R"({"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}})", 4, {"'shape' occurs twice"});
  expect_invalid(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"data_offsets":[0,4]}})", 4,
                 {"'data_offsets' occurs"});
  expect_invalid(R"({"__metadata__":{},"__metadata__":{}})", 0, {"'__metadata__' occurs twice"});
  expect_invalid(R"({"__metadata__":{"format":"pt","format":"np"}})", 0, {"'format' occurs twice"});
}

TEST(HostileSafetensors, NamesThatAreNotUtf8) {
  expect_invalid("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, {"not valid JSON"});
  expect_invalid("{\"\\ud800\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, {"not valid JSON"});
}

TEST(HostileSafetensors, ShapesThatOverflowOrAreEmpty) {
  const auto with_shape = [](const char* shape) {
    return fmt::format(R"({{"a":{{"dtype":"F32","shape":[{}],"data_offsets":[0,4]}}}})", shape);
  };
  expect_invalid(with_shape("4294967296,4294967296"), 4, {"tensor 'a'", "overflows"});
  expect_invalid(with_shape("4611686018427387904"), 4, {"overflows"});
  expect_invalid(with_shape("9223372036854775807,3"), 4, {"overflows"});
  expect_invalid(with_shape("18446744073709551615"), 4, {"out of range"});
  expect_invalid(with_shape("18446744073709551616"), 4, {"not whole"});  // beyond 64 bits it is a float
  expect_invalid(with_shape("1e999"), 4, {"not valid JSON"});
  expect_invalid(with_shape("0"), 4, {"at least 1"});
  expect_invalid(with_shape("4294967296,0,4294967296"), 4, {"at least 1"});
  expect_refused(ErrorKind::unsupported, safetensors_file(with_shape("1,1,1,1,1"), 4), {"more than 4 dimensions"});
}

TEST(HostileSafetensors, OffsetsThatDoNotFitTheShape) {
  const auto with_offsets = [](const char* offsets) {
    return fmt::format(R"({{"a":{{"dtype":"F32","shape":[2],"data_offsets":[{}]}}}})", offsets);
  };
  expect_invalid(with_offsets("0,4"), 8, {"takes 8 bytes", "0 .. 4"});
  expect_invalid(with_offsets("8,0"), 8, {"8 .. 0"});
  expect_invalid(with_offsets("18446744073709551608,0"), 8, {"data_offsets"});  // end - begin is 8 when it wraps
  expect_invalid(with_offsets("18446744073709551607,18446744073709551615"), 8, {"inside the 8 bytes"});
  expect_invalid(with_offsets("0,8"), 7, {"inside the 7 bytes"});
  expect_invalid(with_offsets("1,9"), 9, {"1 bytes before"});
  expect_invalid(with_offsets("0,8"), 9, {"1 bytes at the end"});
}

TEST(HostileSafetensors, TensorsThatOverlapOrLeaveHoles) {
  const auto with_second = [](int begin, int end) {
    return fmt::format(
        R"({{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"b":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}}})",
        begin, end);
  };
  EXPECT_EQ(parse_safetensors(exact_bytes(safetensors_file(with_second(8, 12), 12)), "x").size(), 2u);
  expect_invalid(with_second(4, 8), 8, {"overlaps"});
  expect_invalid(with_second(0, 4), 8, {"overlaps"});
  expect_invalid(with_second(7, 11), 11, {"overlaps"});
  expect_invalid(with_second(12, 16), 16, {"4 bytes before"});
  expect_invalid("{}", 5, {"5 bytes at the end"});
}

TEST(HostileSafetensors, OtherTypesAreNamed) {
  for (const char* dtype : {"F8_E5M2", "I64", "f32", "", "F64"}) {
    const auto header = fmt::format(R"({{"w":{{"dtype":"{}","shape":[1],"data_offsets":[0,8]}}}})", dtype);
    expect_refused(ErrorKind::unsupported, safetensors_file(header, 8),
                   {"tensor 'w'", fmt::format("found '{}'", dtype)});
  }
}

TEST(HostileSafetensors, AHundredThousandEntriesAreRead) {
  const auto file_with = [](std::size_t n_tensors) {
    std::string header = "{";
    for (std::size_t i = 0; i < n_tensors; ++i) {
      header += fmt::format(R"({}"t{}":{{"dtype":"BF16","shape":[1],"data_offsets":[{},{}]}})", i == 0 ? "" : ",", i,
                            2 * i, 2 * i + 2);
    }
    return safetensors_file(header + "}", 2 * n_tensors);
  };
  EXPECT_EQ(parse_safetensors(exact_bytes(file_with(100'000)), "x").size(), 100'000u);
  expect_refused(ErrorKind::invalid_file, file_with(100'001), {"more than 100000 tensors"});
}

TEST(HostileSafetensors, AFileCutAtAnyByteIsAnError) {
  const std::string whole = test::read_file(test::golden / "hf_single/model.safetensors");
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_THROW(parse_safetensors(exact_bytes(whole.substr(0, n)), "cut"), Error) << n;
  }
}

TEST(HostileSafetensors, AFileWithAnyByteChangedIsReadOrRefused) {
  const std::string whole = test::read_file(test::golden / "hf_single/model.safetensors");
  int refused = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const unsigned char mask : {0x01, 0x80, 0xff}) {
      auto bytes = exact_bytes(whole);
      bytes[i] ^= static_cast<std::byte>(mask);
      try {
        EXPECT_EQ(parse_safetensors(bytes, "changed").size(), 3u);
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 300);
}

}  // namespace
}  // namespace moebox
