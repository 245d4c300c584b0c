// Pre-tokenizers, normalizers and decoders against the answers of Hugging Face tokenizers.
#include <gtest/gtest.h>

#include "base/error.h"
#include "golden.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/json_components.h"
#include "tokenizer/named_pre_tokenizer.h"

namespace moebox {
namespace {

using nlohmann::json;

std::vector<std::string> pieces_of(const PreTokenizer& pre_tokenizer, bool byte_level, const std::string& text) {
  MatchBudget budget(text.size());
  std::deque<std::string> kept;
  std::vector<std::string> out;
  pre_tokenizer.split(text, true, budget, kept, [&](std::string_view piece) {
    out.push_back(byte_level ? byte_level::to_characters(piece) : std::string(piece));
  });
  return out;
}

TEST(PreTokenizer, SplitsAsHuggingFaceDoes) {
  const json golden = test::read_golden("splits.json");
  ASSERT_GT(golden.size(), 40u);
  for (const json& group : golden) {
    const JsonPreTokenizer pre = make_pre_tokenizer(group["spec"]);
    for (const json& one : group["cases"]) {
      const auto text = one[0].get<std::string>();
      EXPECT_EQ(pieces_of(pre.pre_tokenizer, pre.byte_level, text), one[1].get<std::vector<std::string>>())
          << group["spec"] << " on " << one[0];
    }
  }
}

TEST(PreTokenizer, NamesOfGgufMeanWhatTheAuthorsFileSays) {
  int compared = 0;
  for (const json& group : test::read_golden("splits.json")) {
    const auto name = group["name"].get<std::string>();
    if (name.empty()) continue;
    const NamedPreTokenizer named = make_named_pre_tokenizer(name);
    for (const json& one : group["cases"]) {
      EXPECT_EQ(pieces_of(named.pre_tokenizer, true, one[0].get<std::string>()), one[1].get<std::vector<std::string>>())
          << name << " on " << one[0];
      ++compared;
    }
  }
  EXPECT_GT(compared, 300);
}

TEST(PreTokenizer, EveryNameIsKnownAndOthersAreNamed) {
  try {
    make_named_pre_tokenizer("no-such-thing");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_NE(error.message().find("no-such-thing"), std::string::npos);
    std::string names = error.hint().substr(error.hint().find(':') + 2);
    int count = 0;
    for (std::size_t at = 0; at < names.size(); ++count) {
      const std::size_t end = std::min(names.find(", ", at), names.size());
      EXPECT_NO_THROW(make_named_pre_tokenizer(names.substr(at, end - at))) << names.substr(at, end - at);
      at = end + 2;
    }
    EXPECT_GT(count, 40);
  }
}

TEST(Normalizer, NormalisesAsHuggingFaceDoes) {
  const json golden = test::read_golden("normal.json");
  ASSERT_GT(golden.size(), 10u);
  for (const json& group : golden) {
    const auto normalizer = make_normalizer(group["spec"]);
    for (const json& one : group["cases"]) {
      const auto text = one[0].get<std::string>();
      MatchBudget budget(text.size());
      std::string out;
      if (!normalizer->apply(text, out, budget)) out = text;
      EXPECT_EQ(json(out).dump(-1, ' ', true), one[1].dump(-1, ' ', true))
          << group["spec"] << " on " << one[0].dump(-1, ' ', true);
    }
  }
}

TEST(Normalizer, LongRunsOfMarksTakeLinearTime) {
  std::string marks = "a";
  for (int i = 0; i < 200000; ++i)
    marks += i % 2 == 0 ? "\u0301" : "\u0323";  // two classes in turn: the worst case for exchanging neighbours
  std::string out;
  EXPECT_TRUE(normalize(marks, NormalForm::nfc, out));
  EXPECT_EQ(out.substr(0, 3), "\u1EA1");
  EXPECT_EQ(out.size(), marks.size());  // "ạ" is two bytes longer than "a", the mark below was two
}

TEST(Decoder, SpellsAsHuggingFaceDoes) {
  for (const json& one : test::read_golden("decoded.json")) {
    const TokenSpelling spelling(one["spec"]);
    std::string text;
    for (const json& id : one["ids"]) text += spelling.spell(one["tokens"][id.get<std::size_t>()].get<std::string>());
    if (spelling.drops_leading_space() && text.starts_with(' ')) text.erase(0, 1);
    // Where bytes are no UTF-8, the reference answers one U+FFFD a byte, and this project one for every maximal piece.
    if (json(one["text"]).get<std::string>().find("\uFFFD") != std::string::npos) continue;
    EXPECT_EQ(json(text), one["text"]) << one["spec"] << one["tokens"];
  }
}

TEST(Components, UnknownOnesFailByName) {
  const auto message = [](const auto& make) -> std::string {
    try {
      make();
    } catch (const Error& error) {
      return (error.kind() == ErrorKind::unsupported ? "" : "wrong kind: ") + error.where() + ": " + error.message();
    }
    return "nothing was thrown";
  };
  EXPECT_NE(message([] {
              make_normalizer(json::parse(R"({"type":"Nmt"})"));
            }).find("tokenizer.json: normalizer: the normalizer 'Nmt'"),
            std::string::npos);
  EXPECT_NE(message([] { make_pre_tokenizer(json::parse(R"({"type":"UnicodeScripts"})")); }).find("'UnicodeScripts'"),
            std::string::npos);
  EXPECT_NE(message([] { TokenSpelling(json::parse(R"({"type":"CTC"})")); }).find("'CTC'"), std::string::npos);
}

}  // namespace
}  // namespace moebox
