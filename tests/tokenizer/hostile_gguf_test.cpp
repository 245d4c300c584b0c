// Tokenizers in GGUF metadata that lie: types, lengths, ids, merges.
#include <limits>
#include <map>

#include <gtest/gtest.h>

#include "io/checkpoint.h"
#include "io/io_testing.h"
#include "tokenizer/tokenizer.h"

namespace moebox {
namespace {

using test::expect_error;
using test::GgufBuilder;
using test::TemporaryFolder;

constexpr std::uint32_t kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8;

/// The entries of a file's metadata, each of which can be replaced.
class Entries {
 public:
  Entries& set(const std::string& key, GgufBuilder value) {
    entries_["tokenizer.ggml." + key] = value.bytes().substr(kHeader);
    return *this;
  }
  Entries& drop(const std::string& key) {
    entries_.erase("tokenizer.ggml." + key);
    return *this;
  }
  Entries& text(const std::string& key, std::string_view value) {
    return set(key, GgufBuilder().key("tokenizer.ggml." + key, kString).string(value));
  }
  template <class T>
  Entries& number(const std::string& key, std::uint32_t type, T value) {
    return set(key, GgufBuilder().key("tokenizer.ggml." + key, type).number(value));
  }
  Entries& texts(const std::string& key, const std::vector<std::string>& values) {
    GgufBuilder entry = list(key, kString, values.size());
    for (const std::string& value : values) entry.string(value);
    return set(key, entry);
  }
  template <class T>
  Entries& numbers(const std::string& key, std::uint32_t type, const std::vector<T>& values) {
    GgufBuilder entry = list(key, type, values.size());
    for (const T value : values) entry.number(value);
    return set(key, entry);
  }
  static GgufBuilder list(const std::string& key, std::uint32_t type, std::uint64_t count) {
    GgufBuilder entry;
    entry.array("tokenizer.ggml." + key, type, count);
    return entry;
  }

  std::string file() const {
    GgufBuilder out(0, entries_.size());
    for (const auto& [key, bytes] : entries_) out.raw(bytes);
    return out.bytes();
  }
  std::shared_ptr<const Tokenizer> load() const {
    const TemporaryFolder folder;
    test::write_file(folder / "a.gguf", file());
    return Tokenizer::load(Checkpoint::open(folder / "a.gguf"));
  }
  void refused(ErrorKind kind, std::initializer_list<std::string_view> parts) const {
    expect_error(kind, parts, [&] { load(); });
  }

 private:
  static constexpr std::size_t kHeader = 24;  // of a file without entries
  std::map<std::string, std::string> entries_;
};

Entries byte_level() {
  Entries out;
  out.text("model", "gpt2").text("pre", "gpt-2");
  out.texts("tokens", {"a", "b", "ab", "c", "<|x|>", "<|y|>"})
      .numbers<std::int32_t>("token_type", kI32, {1, 1, 1, 1, 3, 4});
  return out.texts("merges", {"a b"});
}

Entries llama() {
  Entries out;
  out.text("model", "llama").texts("tokens", {"<unk>", "<s>", "</s>", "\u2581", "a", "\u2581a", "<sep>"});
  out.numbers<float>("scores", kF32, {0, 0, 0, -1, -2, -0.5, 0});
  return out.numbers<std::int32_t>("token_type", kI32, {2, 3, 3, 1, 1, 1, 4});
}

Entries t5() {
  Entries out = llama().text("model", "t5");
  return out.number<std::uint32_t>("unknown_token_id", kU32, 0).number<std::uint32_t>("eos_token_id", kU32, 2);
}

using Ids = std::vector<TokenId>;

TEST(HostileGguf, HonestOnesLoad) {
  EXPECT_EQ(byte_level().load()->encode("abc"), (Ids{2, 3}));
  EXPECT_EQ(llama().load()->encode("a<sep>"), (Ids{5, 6}));
  EXPECT_EQ(t5().load()->encode("a a"), (Ids{5, 5}));
}

TEST(HostileGguf, ModelsAndPreTokenizers) {
  expect_error(ErrorKind::not_found, {"no tokenizer"}, [] { Entries().load(); });
  byte_level().text("model", "no_vocab").refused(ErrorKind::not_found, {"no tokenizer"});
  byte_level().text("model", "bert").refused(ErrorKind::unsupported, {"'bert'"});
  byte_level().text("pre", "nobody's").refused(ErrorKind::unsupported, {"nobody's", "qwen2"});
  byte_level().number<std::uint32_t>("model", kU32, 7).refused(ErrorKind::invalid_file, {"tokenizer.ggml.model"});
  byte_level().number<std::uint32_t>("pre", kU32, 7).refused(ErrorKind::invalid_file, {"tokenizer.ggml.pre"});
}

TEST(HostileGguf, ListsOfAnotherTypeOrLength) {
  for (const char* key : {"tokens", "merges"}) {
    byte_level().drop(key).refused(ErrorKind::invalid_file, {key});
    byte_level().text(key, "a").refused(ErrorKind::invalid_file, {key, "strings"});
    byte_level().numbers<std::int32_t>(key, kI32, {1, 2}).refused(ErrorKind::invalid_file, {key, "strings"});
  }
  byte_level().texts("tokens", {}).drop("token_type").texts("merges", {}).refused(ErrorKind::invalid_file, {"empty"});
  byte_level().texts("token_type", {"1"}).refused(ErrorKind::invalid_file, {"token_type", "integers"});
  byte_level().numbers<float>("token_type", kF32, {1, 1}).refused(ErrorKind::invalid_file, {"token_type"});
  byte_level()
      .numbers<std::int32_t>("token_type", kI32, {1, 1})
      .refused(ErrorKind::invalid_file, {"6 types", "found 2"});
  byte_level().numbers<std::int32_t>("token_type", kI32, {}).refused(ErrorKind::invalid_file, {"6 types", "found 0"});
  for (Entries entries : {llama(), t5()}) {
    Entries(entries).drop("scores").refused(ErrorKind::invalid_file, {"scores"});
    Entries(entries).numbers<float>("scores", kF32, {0, 0}).refused(ErrorKind::invalid_file, {"7 scores", "found 2"});
    Entries(entries)
        .numbers<std::int32_t>("scores", kI32, {0, 0})
        .refused(ErrorKind::invalid_file, {"scores", "floats"});
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();
    for (const float bad : {nan, infinite, -infinite}) {
      Entries(entries)
          .numbers<float>("scores", kF32, {0, 0, 0, 0, bad, 0, 0})
          .refused(ErrorKind::invalid_file, {"finite"});
    }
  }
}

TEST(HostileGguf, HugeCounts) {
  const auto only_the_count = [](const char* key, std::uint32_t type, std::uint64_t count) {
    return llama().set(key, Entries::list(key, type, count));
  };
  for (const std::uint64_t count : {std::uint64_t{1} << 20, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    for (const auto& [key, type] : {std::pair{"tokens", kString}, std::pair{"merges", kString},
                                    std::pair{"scores", kF32}, std::pair{"token_type", kI32}}) {
      expect_error(ErrorKind::invalid_file, {}, [&] { only_the_count(key, type, count).load(); });
    }
  }
  // More tokens than are accepted, all of them there.
  const std::vector<std::string> many((2u << 20) + 1);
  byte_level().texts("tokens", many).drop("token_type").refused(ErrorKind::resource, {"2097153 tokens"});
  byte_level()
      .texts("tokens", {std::string(70000, 'a')})
      .drop("token_type")
      .refused(ErrorKind::resource, {"70000 bytes"});
}

TEST(HostileGguf, TextsThatComeTwice) {
  byte_level()
      .texts("tokens", {"a", "b", "ab", "a", "<|x|>", "<|y|>"})
      .refused(ErrorKind::invalid_file, {"same text 'a'"});
  llama().texts("tokens", {"<unk>", "<s>", "</s>", "a", "a", "b", "c"}).refused(ErrorKind::invalid_file, {"same text"});
}

TEST(HostileGguf, Ids) {
  for (const char* key : {"bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id", "eot_token_id",
                          "eom_token_id", "fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id"}) {
    byte_level()
        .number<std::uint32_t>(key, kU32, 6)
        .refused(ErrorKind::invalid_file, {key, "not in the vocabulary of 6"});
    byte_level().number<std::int32_t>(key, kI32, -2).refused(ErrorKind::invalid_file, {key});
    byte_level().number<std::uint64_t>(key, 10, ~std::uint64_t{0}).refused(ErrorKind::invalid_file, {key});
    byte_level().text(key, "0").refused(ErrorKind::invalid_file, {key});
    EXPECT_NO_THROW(byte_level().number<std::uint32_t>(key, kU32, 0xFFFFFFFF).load()) << "some writers' none";
  }
  for (const char* key : {"add_bos_token", "add_eos_token"}) {
    byte_level().number<std::uint32_t>(key, kU32, 1).refused(ErrorKind::invalid_file, {key});
    EXPECT_EQ(byte_level().number<char>(key, kBool, 1).load()->encode("a", true), Ids{0}) << "there is none to add";
  }
}

TEST(HostileGguf, Merges) {
  for (const char* bad : {"", " ", "a", "ab", " a", "a ", "  "})
    byte_level().texts("merges", {bad}).refused(ErrorKind::invalid_file, {"merges[0]"});
  for (const char* bad : {"a c", "a z", "z a", "a b ", "a  b"})
    byte_level().texts("merges", {"a b", bad}).refused(ErrorKind::invalid_file, {"merges[1]", "not in the vocabulary"});
  // The same twice, and some that undo nothing: a merge only ever makes longer tokens, so there is no circle.
  EXPECT_EQ(byte_level().texts("merges", {"a b", "a b", "a b"}).load()->encode("abab"), (Ids{2, 2}));
  // A merge that would make a control token of text does not count.
  Entries sneaky = byte_level();
  sneaky.texts("tokens", {"a", "b", "ab", "aba", "abab", "c"})
      .numbers<std::int32_t>("token_type", kI32, {1, 1, 1, 1, 3, 1});
  sneaky.texts("merges", {"a b", "ab ab"});
  EXPECT_EQ(sneaky.load()->encode("abab"), (Ids{2, 2}));
  EXPECT_EQ(sneaky.load()->encode("abab", false, true), Ids{4});
}

TEST(HostileGguf, ControlTokensUnderAnotherType) {
  // "<|y|>" is declared a plain added token: its looks count.
  const auto bpe = byte_level().load();
  EXPECT_EQ(bpe->token_kind(5), TokenKind::control);
  EXPECT_EQ(bpe->encode("a<|y|>", false, true), (Ids{0, 5}));
  for (const TokenId id : bpe->encode("a<|y|><|x|>")) EXPECT_LT(id, 4);
  for (Entries entries : {llama(), t5()}) {
    entries.texts("tokens", {"<unk>", "<s>", "</s>", "\u2581", "a", "\u2581a", "<|y|>"});
    const auto tokenizer = entries.load();
    EXPECT_EQ(tokenizer->token_kind(6), TokenKind::control);
    for (const TokenId id : tokenizer->encode("a<|y|>")) EXPECT_NE(id, 6);
  }
}

TEST(HostileGguf, AControlTokenAsTheUnknownToken) {
  for (Entries entries : {llama(), t5()}) {
    // Every strange character would end the answer.
    entries.number<std::uint32_t>("unknown_token_id", kU32, 2).refused(ErrorKind::invalid_file, {"unknown token"});
    // Some writers call "<unk>" a control token.
    entries.number<std::uint32_t>("unknown_token_id", kU32, 0)
        .numbers<std::int32_t>("token_type", kI32, {3, 3, 3, 1, 1, 1, 4});
    const auto tokenizer = entries.load();
    EXPECT_EQ(tokenizer->token_kind(0), TokenKind::unknown);
    EXPECT_EQ(tokenizer->encode("aé"), (Ids{5, 0}));
  }
}

TEST(HostileGguf, CharacterMaps) {
  for (const std::vector<std::int32_t>& bad :
       {std::vector<std::int32_t>{256}, {-129}, {1, 2, 3}, {8, 0, 0, 0, 1, 1, 1, 1}}) {
    t5().numbers<std::int32_t>("precompiled_charsmap", kI32, bad).refused(ErrorKind::invalid_file, {"tokenizer.ggml"});
  }
  t5().texts("precompiled_charsmap", {"a"}).refused(ErrorKind::invalid_file, {"precompiled_charsmap", "bytes"});
  t5().numbers<float>("precompiled_charsmap", kF32, {1}).refused(ErrorKind::invalid_file, {"precompiled_charsmap"});
}

TEST(HostileGguf, EveryCutIsHarmless) {
  for (const Entries& entries : {byte_level(), t5()}) {
    const std::string good = entries.file();
    const TemporaryFolder folder;
    for (std::size_t size = 0; size < good.size(); ++size) {
      test::write_file(folder / "a.gguf", good.substr(0, size));
      EXPECT_THROW(Tokenizer::load(Checkpoint::open(folder / "a.gguf")), Error) << size;
    }
  }
}

}  // namespace
}  // namespace moebox
