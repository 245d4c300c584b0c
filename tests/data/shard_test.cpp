// Shards: what was written comes back; what is damaged, cut, foreign or inconsistent is refused by name.
#include "data/shard.h"

#include <gtest/gtest.h>

#include "data/data_testing.h"
#include "io/safetensors.h"
#include "io/safetensors_writer.h"

namespace moebox {
namespace {

using data::Shard;
using data::ShardWriter;
using test::expect_error;
using test::TestDocument;

TEST(Digest, IsBlake2bOf32Bytes) {
  // hashlib.blake2b(b"abc", digest_size=32).hexdigest()
  EXPECT_EQ(data::hex(data::Hasher().add("abc").finish()),
            "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
  EXPECT_EQ(data::hex(data::Hasher().add("a").add("").add("bc").finish()),
            "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
}

std::vector<TokenId> tokens_of(const Shard& shard, std::int64_t document) {
  const Shard::Range range = shard.document(document);
  std::vector<TokenId> ids(static_cast<std::size_t>(range.size()));
  shard.copy_tokens(range.begin, ids);
  return ids;
}

TEST(Shard, GivesBackWhatWasWritten) {
  const test::TemporaryFolder folder;
  for (const int vocabulary_size : {1000, 65536, 65537, 200000}) {
    const auto documents = test::documents_of({1, 5, 300, 2}, vocabulary_size);
    const std::string file = std::to_string(vocabulary_size) + ".safetensors";
    auto label = test::label_of("web", vocabulary_size);
    label.level = data::Level::synthetic;
    auto shown = documents;
    shown[2].ids[7] = vocabulary_size - 1;
    const data::ShardRecord record = test::write_shard(folder.path(), file, label, shown);
    EXPECT_EQ(record.n_documents, 4);
    EXPECT_EQ(record.n_tokens, 308);
    const Shard shard(folder / file, record.digest);
    EXPECT_EQ(shard.n_documents(), 4);
    EXPECT_EQ(shard.n_tokens(), 308);
    EXPECT_EQ(shard.label().domain, "web");
    EXPECT_EQ(shard.label().level, data::Level::synthetic);
    EXPECT_EQ(shard.label().vocabulary_size, vocabulary_size);
    EXPECT_FALSE(shard.has_mask());
    for (int i = 0; i < 4; ++i) EXPECT_EQ(tokens_of(shard, i), shown[static_cast<std::size_t>(i)].ids);
    std::vector<std::uint8_t> mask(300);
    shard.copy_mask(6, mask);
    EXPECT_EQ(mask, std::vector<std::uint8_t>(300, 1));
    EXPECT_EQ(static_cast<std::int64_t>(std::filesystem::file_size(folder / file)), record.n_bytes);
  }
}

TEST(Shard, AMaskOfOneDocumentLeavesTheOthersLearnt) {
  const test::TemporaryFolder folder;
  const std::vector<TestDocument> documents = {{{1, 2, 3}}, {{4, 5, 6, 7}, {0, 1, 0, 1}}, {{8, 9}}};
  test::write_shard(folder.path(), "m.safetensors", test::label_of("chat"), documents);
  const Shard shard(folder / "m.safetensors");
  ASSERT_TRUE(shard.has_mask());
  std::vector<std::uint8_t> mask(9);
  shard.copy_mask(0, mask);
  EXPECT_EQ(mask, (std::vector<std::uint8_t>{1, 1, 1, 0, 1, 0, 1, 1, 1}));
}

TEST(Shard, TheTypesAreTheSmallestThatFit) {
  const test::TemporaryFolder folder;
  test::write_shard(folder.path(), "small.safetensors", test::label_of("a", 65536), {{{65535, 1}}});
  test::write_shard(folder.path(), "large.safetensors", test::label_of("a", 65537), {{{65536, 1}}});
  for (const auto& [file, type] : {std::pair("small.safetensors", IntegerTensor::Type::u16),
                                   std::pair("large.safetensors", IntegerTensor::Type::u32)}) {
    const auto bytes = test::exact_bytes(test::read_file(folder / file));
    const IntegerFile read = parse_integer_safetensors(bytes, file);
    ASSERT_EQ(read.tensors.size(), 2u);
    EXPECT_EQ(read.tensors[1].type, type);
    EXPECT_EQ(read.data.data() - bytes.data(), (read.data.data() - bytes.data()) / 8 * 8);
  }
}

TEST(Shard, IsNoModelAndAModelIsNoShard) {
  const test::TemporaryFolder folder;
  test::write_shard(folder.path(), "s.safetensors", test::label_of("a"), {{{1, 2}}});
  const auto bytes = test::exact_bytes(test::read_file(folder / "s.safetensors"));
  expect_error(ErrorKind::unsupported, {"s.safetensors", "I64"}, [&] { parse_safetensors(bytes, "s.safetensors"); });
  expect_error(ErrorKind::invalid_file, {"model.safetensors", "whole numbers"},
               [] { Shard(test::golden / "hf_single/model.safetensors"); });
}

TEST(Shard, RefusesWhatCannotBeWritten) {
  ShardWriter writer(test::label_of("a", 10));
  const std::vector<TokenId> ids = {1, 10}, negative = {-1}, good = {1, 2};
  const std::vector<std::uint8_t> mask = {1};
  expect_error(ErrorKind::internal, {"token 10"}, [&] { writer.add(ids); });
  expect_error(ErrorKind::internal, {"token -1"}, [&] { writer.add(negative); });
  expect_error(ErrorKind::internal, {"mask"}, [&] { writer.add(good, mask); });
  expect_error(ErrorKind::internal, {"without tokens"}, [&] { writer.add({}); });
  EXPECT_TRUE(writer.empty());
}

class DamagedShard : public testing::Test {
 protected:
  DamagedShard() {
    record_ = test::write_shard(folder_.path(), "s.safetensors", test::label_of("a"),
                                {{{1, 2, 3}, {0, 1, 1}}, {{4, 5, 6, 7}, {0, 0, 0, 1}}});
    content_ = test::read_file(folder_ / "s.safetensors");
  }
  void expect_refused(const std::string& content, std::initializer_list<std::string_view> parts) {
    const auto bytes = test::exact_bytes(content);
    expect_error(ErrorKind::invalid_file, {"bad.safetensors"}, [&] { Shard(bytes, "bad.safetensors"); });
    expect_error(ErrorKind::invalid_file, parts, [&] { Shard(bytes, "bad.safetensors"); });
  }
  /// A file with this header's metadata and these tensors, and a right checksum.
  std::string file_of(const std::vector<SafetensorsEntry>& entries, std::string_view tensors,
                      std::map<std::string, std::string> changes = {}) {
    std::map<std::string, std::string> metadata = {{"format", "moebox-data"},
                                                   {"format_version", "1"},
                                                   {"tokenizer", std::string(64, '0')},
                                                   {"vocabulary_size", "10"},
                                                   {"domain", "a"},
                                                   {"level", "general"},
                                                   {"checksum", data::hex(data::Hasher().add(tensors).finish())}};
    for (const auto& [key, value] : changes) metadata[key] = value;
    std::erase_if(metadata, [](const auto& one) { return one.second == "-"; });
    return safetensors_header(entries, metadata) + std::string(tensors);
  }
  static std::string numbers(std::initializer_list<std::int64_t> values) {
    return {reinterpret_cast<const char*>(values.begin()), values.size() * 8};
  }

  test::TemporaryFolder folder_;
  data::ShardRecord record_;
  std::string content_;
};

TEST_F(DamagedShard, EveryFlippedBitIsSeen) {
  for (std::size_t i = 0; i < content_.size(); ++i) {
    std::string damaged = content_;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 8)));
    const auto bytes = test::exact_bytes(damaged);
    // By the manifest's digest always; without it, by the checksum of the data, or because the metadata make no sense.
    expect_error(ErrorKind::invalid_file, {"x.safetensors", "checksum"},
                 [&] { Shard(bytes, "x.safetensors", record_.digest); });
    const bool in_data = i >= content_.size() - 7 * 2 - 2 * 8 - 7;
    if (in_data) expect_error(ErrorKind::invalid_file, {"x.safetensors"}, [&] { Shard(bytes, "x.safetensors"); });
  }
}

TEST_F(DamagedShard, EveryCutIsSeen) {
  for (std::size_t size = 0; size < content_.size(); ++size) expect_refused(content_.substr(0, size), {});
  expect_refused(content_ + "x", {"1 bytes at the end"});
}

TEST_F(DamagedShard, WhatTheMetadataMayNotSay) {
  const std::string tensors = numbers({0}) + std::string("\1\0\2\0", 4);
  const std::vector<SafetensorsEntry> entries = {{"document_starts", "I64", {1}, 8}, {"tokens", "U16", {2}, 4}};
  const auto good = test::exact_bytes(file_of(entries, tensors));
  EXPECT_EQ(Shard(good, "good").n_tokens(), 2);
  expect_refused(file_of(entries, tensors, {{"format", "other"}}), {"moebox-data", "other"});
  expect_refused(file_of(entries, tensors, {{"format", "-"}}), {"lack 'format'"});
  expect_refused(file_of(entries, tensors, {{"tokenizer", "x"}}), {"tokenizer"});
  expect_refused(file_of(entries, tensors, {{"domain", "../x"}}), {"'../x'"});
  expect_refused(file_of(entries, tensors, {{"level", "high"}}), {"'high'"});
  expect_refused(file_of(entries, tensors, {{"vocabulary_size", "2"}}), {"token 1 is outside the vocabulary of 2"});
  expect_refused(file_of(entries, tensors, {{"vocabulary_size", "99999999999"}}), {"vocabulary_size"});
  expect_refused(file_of(entries, tensors, {{"vocabulary_size", "-5"}}), {"vocabulary_size"});
  expect_refused(file_of(entries, tensors, {{"checksum", std::string(64, 'a')}}), {"checksum"});
  const auto newer = test::exact_bytes(file_of(entries, tensors, {{"format_version", "2"}}));
  expect_error(ErrorKind::unsupported, {"new", "version 1", "version 2"}, [&] { Shard(newer, "new"); });
}

TEST_F(DamagedShard, WhatTheTensorsMayNotBe) {
  const auto starts = [](std::int64_t n) {
    return SafetensorsEntry{"document_starts", "I64", {n}, 8ull * static_cast<std::uint64_t>(n)};
  };
  const SafetensorsEntry tokens{"tokens", "U16", {4}, 8}, mask{"loss_mask", "U8", {4}, 4};
  const std::string ids("\1\0\2\0\3\0\4\0", 8);
  expect_refused(file_of({starts(1), tokens}, numbers({1}) + ids), {"document 0 begins at 1"});
  expect_refused(file_of({starts(2), tokens}, numbers({0, 4}) + ids), {"document 1 begins at 4"});
  expect_refused(file_of({starts(2), tokens}, numbers({0, 0}) + ids), {"document 1 begins at 0"});
  expect_refused(file_of({starts(2), tokens}, numbers({0, -1}) + ids), {"document 1 begins at -1"});
  expect_refused(file_of({starts(3), tokens}, numbers({0, 3, 2}) + ids), {"document 2 begins at 2"});
  expect_refused(file_of({tokens}, ids), {"no tensor 'document_starts'"});
  expect_refused(file_of({starts(1)}, numbers({0})), {"no tensor 'tokens'"});
  expect_refused(file_of({starts(1), {"tokens", "U8", {8}, 8}}, numbers({0}) + ids), {"U16 or U32"});
  expect_refused(file_of({starts(1), {"tokens", "F16", {4}, 8}}, numbers({0}) + ids), {"whole numbers", "'F16'"});
  expect_refused(file_of({starts(1), {"tokens", "U16", {2, 2}, 8}}, numbers({0}) + ids), {"one dimension"});
  expect_refused(file_of({starts(1), tokens, {"more", "U8", {1}, 1}}, numbers({0}) + ids + "x"), {"does not have"});
  expect_refused(file_of({starts(1), tokens, {"loss_mask", "U8", {3}, 3}}, numbers({0}) + ids + "\1\1\1"),
                 {"as long as tokens"});
  expect_refused(file_of({starts(1), tokens, mask}, numbers({0}) + ids + std::string("\1\2\0\0", 4)),
                 {"other than 0 and 1"});
  expect_refused(file_of({starts(1), tokens, mask}, numbers({0}) + ids + std::string(4, '\0')), {"loss_mask is empty"});
  expect_refused(file_of({starts(1), {"tokens", "U16", {std::int64_t{1} << 62}, 8}}, numbers({0}) + ids),
                 {"9223372036854775808 bytes"});
  expect_refused(file_of({starts(1), {"tokens", "U16", {std::int64_t{1} << 62, 4}, 8}}, numbers({0}) + ids),
                 {"overflows"});
  expect_refused(file_of({starts(1), {"tokens", "U16", {5}, 8}}, numbers({0}) + ids), {"10 bytes"});
}

}  // namespace
}  // namespace moebox
