// Filters: what each finds and what it leaves alone; near duplicates against the plain Jaccard similarity.
#include <cmath>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "data/build/filter.h"
#include "data/build/language.h"
#include "data/build/near_duplicates.h"
#include "data/build/pii.h"
#include "data/build/quality.h"
#include "data/build/words.h"

namespace moebox {
namespace {

using data::MinHash;
using data::NearDuplicates;

TEST(Words, AreBetweenSpacesAndIdeographsByThemselves) {
  using List = std::vector<std::string_view>;
  EXPECT_EQ(data::words_of(" one  two,\nthree "), (List{"one", "two,", "three"}));
  EXPECT_EQ(data::words_of("ab\xE4\xB8\xAD\xE6\x96\x87\xEF\xBC\x8C"
                           "cd"),
            (List{"ab", "\xE4\xB8\xAD", "\xE6\x96\x87", "cd"}));
  EXPECT_TRUE(data::words_of(" \t\n").empty());
}

/// `count` different words of different lengths in rows of ten.
std::string prose(int count, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string text;
  for (int i = 0; i < count; ++i) {
    for (unsigned k = 3 + random() % 5; k > 0; --k) text += static_cast<char>('a' + random() % 26);
    text += i % 10 == 9 ? ".\n" : " ";
  }
  return text;
}

std::string problem(const std::string& text) {
  const char* found = data::prose_problem(text);
  return found == nullptr ? "" : found;
}

TEST(Quality, ProseIsLeftAlone) {
  for (unsigned seed = 1; seed < 50; ++seed) EXPECT_EQ(problem(prose(200, seed)), "");
  const std::string chinese =
      "磨坊在河转弯的地方，磨坊主的女儿每天傍晚数麻袋。“十二个，”她说，“第十三个破了。”"
      "她从来不多说一句；其余的话由河水来说。冬天水轮结了冰，所有的麻袋都留在原地，没有人去动它们。";
  EXPECT_EQ(problem(chinese), "");
}

TEST(Quality, EveryRuleOfProse) {
  EXPECT_EQ(problem(prose(49)), "too_short");
  EXPECT_EQ(problem(prose(50)), "");
  EXPECT_EQ(problem(prose(100'001)), "too_long");
  std::string text;
  for (int i = 0; i < 100; ++i) text += std::string(1, static_cast<char>('a' + i % 26)) + (i % 7 == 0 ? "b " : " ");
  EXPECT_EQ(problem(text), "word_length");
  EXPECT_EQ(problem(prose(100) + std::string(11, '#')), "symbols");
  EXPECT_EQ(problem(prose(100) + std::string(9, '#')), "");
  text.clear();
  for (int i = 0; i < 100; ++i)
    text += i % 4 == 0 ? std::to_string(100000 + i * i * 37) + " " : prose(1, static_cast<unsigned>(i));
  EXPECT_EQ(problem(text), "few_letters");
  text.clear();
  for (unsigned i = 0; i < 20; ++i) text += "- " + prose(9, i + 1) + "\n";
  EXPECT_EQ(problem(text), "bullets");
  text.clear();
  for (unsigned i = 0; i < 20; ++i) text += prose(9, i + 1) + (i % 2 == 0 ? "...\n" : "\n");
  EXPECT_EQ(problem(text), "ellipses");
  EXPECT_EQ(problem(prose(100) + "lorem ipsum"), "lorem_ipsum");
  text = prose(100);
  for (int i = 0; i < 8; ++i) text += "the same line is here again\n";
  EXPECT_EQ(problem(text), "repeated_lines");
  EXPECT_EQ(problem(prose(100) + "\n\n" + prose(40, 2) + "\n\n" + prose(40, 2)), "repeated_lines");
  text = "";
  for (unsigned i = 0; i < 100; ++i) text += (i % 3 == 0 ? "again and again " : "") + prose(1, i + 1);
  EXPECT_EQ(problem(text), "repeated_phrases");
}

TEST(Quality, Code) {
  EXPECT_EQ(data::code_problem("int main() {\n  return 0;\n}\n"), nullptr);
  EXPECT_STREQ(data::code_problem("x = [" + std::string(1001, '1') + "]\n" + prose(500)), "long_lines");
  EXPECT_STREQ(data::code_problem(std::string(101, 'a')), "long_lines");
  EXPECT_STREQ(data::code_problem("{{{{}}}};;;;\n((((()))))\n"), "few_letters");
}

TEST(Language, IsFound) {
  EXPECT_EQ(
      data::detect_language("The miller's daughter counted the sacks every evening, and the river said the rest.").code,
      "en");
  EXPECT_EQ(data::detect_language("磨坊主的女儿每天傍晚数麻袋，其余的话由河水来说。冬天水轮结了冰。").code, "zh");
  EXPECT_EQ(
      data::detect_language("Die Tochter des Müllers zählte jeden Abend die Säcke, und der Fluss sagte den Rest.").code,
      "de");
  EXPECT_FALSE(data::detect_language("12 34").reliable);
}

std::set<std::string> phrases(const std::string& text) {
  const auto words = data::words_of(text);
  std::set<std::string> all;
  for (std::size_t i = 0; i + 5 <= words.size(); ++i) {
    std::string phrase;
    for (std::size_t k = i; k < i + 5; ++k) phrase += std::string(words[k]) + " ";
    all.insert(phrase);
  }
  return all;
}

double jaccard(const std::string& a, const std::string& b) {
  const auto x = phrases(a), y = phrases(b);
  std::size_t common = 0;
  for (const std::string& phrase : x) common += y.count(phrase);
  return static_cast<double>(common) / static_cast<double>(x.size() + y.size() - common);
}

/// `text` with words replaced at `n` random places.
std::string changed(const std::string& text, int n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::string> words;
  for (const auto word : data::words_of(text)) words.emplace_back(word);
  for (int i = 0; i < n; ++i) words[random() % words.size()] = "changed" + std::to_string(random());
  std::string joined;
  for (const std::string& word : words) joined += word + " ";
  return joined;
}

TEST(NearDuplicates, SignaturesEstimateTheJaccardSimilarity) {
  double error = 0;
  int count = 0;
  for (const int n : {0, 1, 3, 8, 20, 60, 400}) {
    for (unsigned seed = 1; seed <= 20; ++seed) {
      const std::string a = prose(400, seed), b = changed(a, n, seed);
      const double real = jaccard(a, b), estimate = MinHash::similarity(MinHash::signature(a), MinHash::signature(b));
      EXPECT_NEAR(estimate, real, 4 * std::sqrt(real * (1 - real) / MinHash::n_hashes) + 1e-9) << n << " " << seed;
      error += estimate - real;
      ++count;
    }
  }
  EXPECT_NEAR(error / count, 0, 0.01);  // no bias
}

TEST(NearDuplicates, AreFoundAsTheBandsPromise) {
  int found_alike = 0, alike = 0, found_unlike = 0, unlike = 0;
  for (unsigned seed = 1; seed <= 200; ++seed) {
    const std::string a = prose(400, seed);
    for (const int n : {2, 25}) {
      const std::string b = changed(a, n, seed);
      const double real = jaccard(a, b);
      NearDuplicates near(0.8);
      EXPECT_TRUE(near.add(MinHash::signature(a)));
      const bool found = !near.add(MinHash::signature(b));
      if (real > 0.9) alike += 1, found_alike += found;
      if (real < 0.65) unlike += 1, found_unlike += found;
    }
  }
  EXPECT_GE(alike, 150);
  EXPECT_GE(unlike, 150);
  EXPECT_GE(found_alike, alike * 98 / 100);
  EXPECT_EQ(found_unlike, 0);
}

TEST(NearDuplicates, OthersAreKept) {
  NearDuplicates near(0.8);
  for (unsigned seed = 1; seed <= 300; ++seed) EXPECT_TRUE(near.add(MinHash::signature(prose(100, seed))));
  EXPECT_FALSE(near.add(MinHash::signature(prose(100, 77))));
  EXPECT_TRUE(near.add(MinHash::signature("")));
  EXPECT_TRUE(near.add(MinHash::signature("two words")));
  EXPECT_FALSE(near.add(MinHash::signature("two  words")));
}

TEST(Pii, IsReplaced) {
  const std::pair<const char*, const char*> cases[] = {
      {"mail me at jane.doe+x@mail.example.org, please", "mail me at <EMAIL>, please"},
      {"<a@b.co>.", "<<EMAIL>>."},
      {"call 13812345678 now", "call <PHONE> now"},
      {"\xE7\x94\xB5\xE8\xAF\x9D"
       "138-1234-5678\xE3\x80\x82",
       "\xE7\x94\xB5\xE8\xAF\x9D<PHONE>\xE3\x80\x82"},
      {"+86 138 1234 5678 or +1-212-555-0123", "<PHONE> or <PHONE>"},
      {"(212) 555-0123, 212-555-0123, 212.555.0123", "<PHONE>, <PHONE>, <PHONE>"},
      {"id 11010519491231002X!", "id <ID>!"},
      {"440524188001010014", "<ID>"},
      {"card 4111 1111 1111 1111 and 5500-0000-0000-0004", "card <CARD> and <CARD>"},
      {"378282246310005", "<CARD>"},
      {"from 192.168.10.7:80", "from <IP>:80"},
      {"8.8.8.8", "<IP>"},
  };
  for (const auto& [text, masked] : cases) EXPECT_EQ(data::mask_pii(text), masked);
  std::array<int, data::n_pii_kinds> found{};
  data::mask_pii("a@b.org 8.8.8.8 c@d.org", &found);
  EXPECT_EQ(found[static_cast<std::size_t>(data::PiiKind::email)], 2);
  EXPECT_EQ(found[static_cast<std::size_t>(data::PiiKind::ip)], 1);
}

TEST(Pii, WhatIsNoneStays) {
  for (const char* text : {"@home",
                           "a @ b.c",
                           "name@host",
                           "x@y.1",
                           "version 1.2.3.4.5",
                           "127.0.0.1",
                           "1.2.3",
                           "256.1.1.1",
                           "01.2.3.4",
                           "4111 1111 1111 1112",
                           "1234567890123456",
                           "110105194912310021",
                           "110105194913310027",
                           "12345678901",
                           "138123456789",
                           "in 1987 and 2024-11-23",
                           "pi is 3.14159265358979323846",
                           "x13812345678",
                           "0x4111111111111111",
                           "C++ (see [1])",
                           "+1",
                           "(abc) 123-4567",
                           "200 300 4000"})
    EXPECT_EQ(data::mask_pii(text), text);
}

TEST(Pii, ChecksDigits) {
  EXPECT_TRUE(data::is_identity_number("11010519491231002X"));  // the example of GB 11643-1999
  EXPECT_FALSE(data::is_identity_number("110105194912310020"));
  EXPECT_FALSE(data::is_identity_number("1101051949123100"));
  EXPECT_TRUE(data::passes_luhn("79927398713"));  // the example of ISO/IEC 7812-1
  for (char digit = '0'; digit <= '9'; ++digit)
    EXPECT_EQ(data::passes_luhn(std::string("7992739871") + digit), digit == '3');
}

TEST(Pii, TakesLinearTime) {
  const std::string digits(3'000'000, '4'), marks(3'000'000, '+'), locals = std::string(3'000'000, 'a') + "@";
  EXPECT_EQ(data::mask_pii(digits), digits);
  EXPECT_EQ(data::mask_pii(marks), marks);
  EXPECT_EQ(data::mask_pii(locals), locals);
}

TEST(Filter, CountsWhatItDoes) {
  data::FilterOptions filters;
  filters.nfc = filters.mask_pii = true;
  data::Counts counts;
  std::string language;
  std::string text = "e\xCC\x81 a@b.org";
  EXPECT_EQ(data::filter_text(text, false, filters, counts, language), nullptr);
  EXPECT_EQ(text, "\xC3\xA9 <EMAIL>");
  EXPECT_EQ(counts.notes["nfc_changed"], 1);
  EXPECT_EQ(counts.notes["email_masked"], 1);
  filters.quality = true;
  EXPECT_STREQ(data::filter_text(text, false, filters, counts, language), "too_short");
  filters.quality = false;
  filters.languages = {"zh"};
  text = "The miller's daughter counted the sacks every evening, and the river said the rest.";
  EXPECT_STREQ(data::filter_text(text, false, filters, counts, language), "other_language");
  EXPECT_EQ(data::filter_text(text, true, filters, counts, language), nullptr);  // code has none
  filters.languages = {"zh", "en"};
  EXPECT_EQ(data::filter_text(text, false, filters, counts, language), nullptr);
  EXPECT_EQ(language, "en");
}

}  // namespace
}  // namespace moebox
