// Building data sets: sources of every kind, what is hostile in them, and the same bytes for any number of threads.
#include "data/build/build.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

#include "chat/fake_tokenizer.h"
#include "chat/golden_chat.h"
#include "data/build/ordered_work.h"
#include "data/data_testing.h"

namespace moebox {
namespace {

using data::BuildOptions;
using data::BuildResult;
using data::Counts;
using data::Dataset;
using data::SourceOptions;
using test::expect_error;

class BuildTest : public testing::Test {
 protected:
  /// A source of one file with this content.
  SourceOptions source(const std::string& name, std::string_view content) {
    test::write_file(folder_ / name, content);
    SourceOptions source;
    source.files = {folder_ / name};
    source.format = data::format_of(name);
    return source;
  }
  BuildOptions options(std::vector<SourceOptions> sources) {
    BuildOptions options;
    options.sources = std::move(sources);
    auto tokenizer = std::make_shared<FakeTokenizer>(std::vector<std::string>{"<|im_end|>", "<|im_start|>"});
    tokenizer->special().end_of_generation = {256};
    options.tokenizer = tokenizer;
    options.end_token = 256;
    options.out = folder_ / "out";
    options.replace = true;
    options.n_threads = 2;
    return options;
  }
  Counts build(const BuildOptions& options) {
    const BuildResult result = data::build_dataset(options);
    Counts all;
    for (const Counts& counts : result.counts) all += counts;
    return all;
  }
  /// The documents of the data set as text.
  std::vector<std::string> documents(const std::string& split = "train") {
    Dataset::Options options;
    options.split = split;
    const Dataset dataset = Dataset::open(folder_ / "out", options);
    std::vector<std::string> texts;
    for (std::int64_t i = 0; i < dataset.n_documents(); ++i) {
      const auto [shard, range] = dataset.document(i);
      std::vector<TokenId> ids(static_cast<std::size_t>(range.size()));
      shard->copy_tokens(range.begin, ids);
      EXPECT_EQ(ids.back(), 256);
      ids.pop_back();
      texts.push_back(tokenizer_.decode(ids, true));
    }
    return texts;
  }

  test::TemporaryFolder folder_;
  FakeTokenizer tokenizer_{{"<|im_end|>", "<|im_start|>"}};
};

using Texts = std::vector<std::string>;

TEST_F(BuildTest, AFileIsADocument) {
  const Counts counts = build(options({source("a.txt", "One\n\ntwo\n"), source("b.txt", "<|im_end|> is text")}));
  EXPECT_EQ(documents(), (Texts{"One\n\ntwo\n", "<|im_end|> is text"}));
  EXPECT_EQ(counts.read.documents, 2);
  EXPECT_EQ(counts.kept.bytes, 27);
  EXPECT_EQ(counts.tokens, 29);
}

TEST_F(BuildTest, LinesAndPartsBetweenBlankLines) {
  SourceOptions lines = source("l.txt", "one\r\ntwo\n\nthree");
  lines.unit = data::TextUnit::line;
  Counts counts = build(options({lines}));
  EXPECT_EQ(documents(), (Texts{"one", "two", "three"}));
  EXPECT_EQ(counts.dropped["empty"].documents, 1);
  SourceOptions parts = source("p.txt", "\n\nfirst\nline\n\n\n\nsecond\r\n\r\nthird\n");
  parts.unit = data::TextUnit::blank_line;
  build(options({parts}));
  EXPECT_EQ(documents(), (Texts{"first\nline\n", "second\r\n", "third\n"}));
}

TEST_F(BuildTest, JsonLinesAndWhyTheyAreDropped) {
  const std::string lines = std::string(R"({"text": "good \u4e2d"})") + "\n" + "\n" +          //
                            R"({"text": NaN})" + "\n" + R"({"text": 5})" + "\n" +              //
                            R"({"other": "x"})" + "\n" + R"(["text"])" + "\n" +                //
                            R"({"text": "  \n "})" + "\n" + R"({"text": "a", "text": "b"})" +  //
                            "\n" + R"({"text": "half)" + "\n" + "{\"text\": \"bad \xFF byte\"}\n" +
                            R"({"text": "good \u4e2d"})" + "\n" + R"({"text": "nul \u0000"})" + "\n" +
                            std::string(200, '[') + "\n" + R"({"text": "last"})";
  Counts counts = build(options({source("x.jsonl", lines)}));
  EXPECT_EQ(documents(), (Texts{"good \xE4\xB8\xAD", "bad \xEF\xBF\xBD byte", "last"}));
  EXPECT_EQ(counts.read.documents, 14);
  EXPECT_EQ(counts.dropped["empty"].documents, 2);
  EXPECT_EQ(counts.dropped["invalid_json"].documents, 4);
  EXPECT_EQ(counts.dropped["not_a_text"].documents, 1);
  EXPECT_EQ(counts.dropped["no_such_field"].documents, 2);
  EXPECT_EQ(counts.dropped["duplicate"].documents, 1);
  EXPECT_EQ(counts.dropped["binary"].documents, 1);
  EXPECT_EQ(counts.notes["invalid_utf8_replaced"], 1);
  std::int64_t sum = counts.kept.documents;
  for (const auto& [reason, tally] : counts.dropped) sum += tally.documents;
  EXPECT_EQ(sum, counts.read.documents);
}

TEST_F(BuildTest, InvalidUtf8IsReplacedOrDropped) {
  BuildOptions drop =
      options({source("bad.txt", "a\xC3(b"), source("good.txt", "fine"), source("bin.txt", std::string("\0\xFF", 2))});
  Counts counts = build(drop);
  EXPECT_EQ(documents(), (Texts{"a\xEF\xBF\xBD(b", "fine"}));
  EXPECT_EQ(counts.dropped["binary"].documents, 1);
  drop.filters.invalid_utf8 = data::InvalidUtf8::drop;
  counts = build(drop);
  EXPECT_EQ(documents(), (Texts{"fine"}));
  EXPECT_EQ(counts.dropped["invalid_utf8"].documents, 1);
}

TEST_F(BuildTest, LongTextsAreCutAndLongLinesDropped) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += "line " + std::to_string(i) + "\n";
  BuildOptions small = options({source("long.txt", text)});
  small.limits.document_bytes = 1000;
  small.limits.line_bytes = 100;
  Counts counts = build(small);
  std::string joined;
  for (const std::string& part : documents()) {
    EXPECT_LE(part.size(), 1000u);
    EXPECT_TRUE(part.ends_with('\n'));
    joined += part;
  }
  EXPECT_EQ(joined, text);
  EXPECT_EQ(counts.notes["part_of_a_long_text"], static_cast<std::int64_t>(documents().size()));

  std::string chinese;
  for (int i = 0; i < 1000; ++i)  // no place to cut but between characters
    chinese += std::string("\xE4\xB8") + static_cast<char>(0x80 + i * i % 61);
  small.sources = {source("c.txt", chinese)};
  build(small);
  joined.clear();
  for (const std::string& part : documents()) joined += part;
  EXPECT_TRUE(joined == chinese);

  small.sources = {source("l.jsonl", R"({"text": "short"})"
                                     "\n"
                                     R"({"text": ")" +
                                         std::string(5000, 'x') + "\"}\n" + R"({"text": "after"})")};
  counts = build(small);
  EXPECT_EQ(documents(), (Texts{"short", "after"}));
  EXPECT_EQ(counts.dropped["line_too_long"].documents, 1);
  EXPECT_EQ(counts.dropped["line_too_long"].bytes, 5013);
}

TEST_F(BuildTest, ALineOf100MegabytesTakesLittleMemory) {
  const std::string path = folder_ / "huge.jsonl";
  test::write_file(path, R"({"text": "before"})"
                         "\n"
                         R"({"text": ")" +
                             std::string(100'000'000, 'x') + "\"}\n" + R"({"text": "after"})");
  SourceOptions huge;
  huge.files = {path};
  huge.format = data::SourceFormat::jsonl;
  const Counts counts = build(options({huge}));
  EXPECT_EQ(documents(), (Texts{"before", "after"}));
  EXPECT_EQ(counts.dropped.at("line_too_long").documents, 1);
}

TEST_F(BuildTest, FoldersOfCode) {
  for (const char* file :
       {"a.py", "sub/b.cpp", "sub/Makefile", "sub/picture.png", ".git/c.py", "node_modules/d.js", "e.txt"}) {
    std::filesystem::create_directories((folder_ / "code" / file).parent_path());
    test::write_file(folder_ / "code" / file, file);
  }
  std::filesystem::create_symlink("/etc", folder_ / "code" / "link");
  SourceOptions code;
  code.files = data::find_files((folder_ / "code").string(), true);
  code.format = data::SourceFormat::code;
  build(options({code}));
  EXPECT_EQ(documents(), (Texts{"a.py", "sub/Makefile", "sub/b.cpp"}));
  EXPECT_EQ(data::find_files((folder_ / "code/*.txt").string(), false).size(), 1u);
  expect_error(ErrorKind::not_found, {"nothing*"}, [&] { data::find_files((folder_ / "nothing*").string(), false); });
}

TEST_F(BuildTest, AnyNumberOfThreadsGivesTheSameBytes) {
  std::mt19937 random(11);
  std::string lines;
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (unsigned k = random() % 600; k > 0; --k) text += static_cast<char>('a' + random() % 26);
    lines += R"({"text": ")" + (i % 7 == 0 ? "same" : text) + "\"}\n";
  }
  BuildOptions many = options({source("x.jsonl", lines), source("y.txt", "the other domain")});
  many.sources[1].domain = "other";
  many.shard_tokens = 100'000;
  many.held_out = 0.1;
  std::map<std::string, std::string> first;
  for (const int threads : {1, 2, 3, 8}) {
    many.n_threads = threads;
    data::build_dataset(many);
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(many.out))
      files[entry.path().filename()] = test::read_file(entry.path());
    EXPECT_GT(files.size(), 8u);
    if (first.empty()) first = files;
    EXPECT_TRUE(files == first) << threads;
  }
  EXPECT_NEAR(static_cast<double>(documents("held_out").size()) / 2500.0, 0.1, 0.03);
}

TEST_F(BuildTest, ConversationsAreMaskedAndEmptyMasksAreErrors) {
  const std::string good =
      R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]})";
  const std::string shared =
      R"({"messages": [{"from": "human", "value": "Hi there"}, {"from": "gpt", "value": "Hello"}]})";
  const std::string parts =
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]}, {"role": "assistant", "content": "C"}]})";
  const std::string empty = R"({"messages": [{"role": "user", "content": "Hi"}]})";
  SourceOptions chat = source("c.jsonl", good + "\n" + shared + "\n" + parts + "\n" + R"({"messages": "no"})");
  chat.messages = "messages";
  BuildOptions chats = options({chat});
  expect_error(ErrorKind::invalid_argument, {"no chat template"}, [&] { build(chats); });
  chats.chat_template =
      std::make_shared<ChatTemplate>(golden::read_file("templates/smollm2-135m-instruct.jinja"), "", "");
  Counts counts = build(chats);
  EXPECT_EQ(counts.kept.documents, 3);
  EXPECT_EQ(counts.dropped["not_messages"].documents, 1);
  EXPECT_EQ(counts.learnt_tokens, 6 + 6 + 2);  // bytes, and the token that ends each
  const Dataset dataset = Dataset::open(chats.out);
  EXPECT_TRUE(dataset.document(0).shard->has_mask());

  chats.sources[0].files = source("e.jsonl", good + "\n" + empty + "\n" + empty).files;
  const std::string before = test::read_file(chats.out / data::manifest_name);
  for (const int threads : {1, 4}) {
    chats.n_threads = threads;
    expect_error(ErrorKind::invalid_argument, {"e.jsonl:2", "no answer", "empty_mask"}, [&] { build(chats); });
  }
  EXPECT_EQ(test::read_file(chats.out / data::manifest_name), before);  // the earlier data are as they were
  chats.filters.drop_empty_masks = true;
  counts = build(chats);
  EXPECT_EQ(counts.dropped["empty_mask"].documents, 2);
}

TEST_F(BuildTest, NothingIsLeftOfABuildThatFails) {
  BuildOptions empty = options({source("e.txt", "")});
  expect_error(ErrorKind::invalid_argument, {"no document is left", "1 empty"}, [&] { build(empty); });
  BuildOptions missing = options({source("a.txt", "x")});
  missing.sources.push_back(missing.sources[0]);
  missing.sources[1].files = {folder_ / "gone.txt"};
  expect_error(ErrorKind::not_found, {"gone.txt"}, [&] { build(missing); });
  BuildOptions stopped = options({source("a.txt", "x")});
  stopped.progress = [](std::uint64_t, std::uint64_t) { return false; };
  expect_error(ErrorKind::cancelled, {}, [&] { build(stopped); });
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
    EXPECT_FALSE(entry.is_directory()) << entry.path();
}

TEST_F(BuildTest, OnlyDataAreEverReplaced) {
  BuildOptions one = options({source("a.txt", "x")});
  std::filesystem::create_directory(one.out);
  test::write_file(one.out / "precious", "mine");
  expect_error(ErrorKind::invalid_argument, {"other things"}, [&] { build(one); });
  EXPECT_EQ(test::read_file(one.out / "precious"), "mine");
  std::filesystem::remove(one.out / "precious");
  build(one);
  one.replace = false;
  expect_error(ErrorKind::invalid_argument, {"is there already", "--force"}, [&] { build(one); });
}

TEST_F(BuildTest, SourcesThatDoNotGoTogether) {
  BuildOptions two = options({source("a.txt", "x"), source("b.txt", "y")});
  two.sources[0].weight = 1;
  expect_error(ErrorKind::invalid_argument, {"one level and one weight"}, [&] { build(two); });
  two.sources[1].domain = "b";
  expect_error(ErrorKind::invalid_argument, {"others have none"}, [&] { build(two); });
  two.sources[1].weight = 2;
  build(two);
  EXPECT_EQ(Dataset::open(two.out).domains()[1].weight, 2.0);
  two.sources[1].domain = "../b";
  expect_error(ErrorKind::invalid_argument, {"letters"}, [&] { build(two); });
}

TEST(OrderedWork, FinishesInOrderAndThrowsTheFirstError) {
  for (const int threads : {1, 2, 7}) {
    for (const int bad : {-1, 0, 13, 99}) {
      int next = 0;
      std::vector<int> finished;
      const auto run = [&] {
        data::run_ordered<int>(
            threads,
            [&](int& item) {
              item = next++;
              return item < 100;
            },
            [&](int& item) {
              if (bad >= 0 && (item == bad || item == bad + 3)) throw std::runtime_error(std::to_string(item));
            },
            [&](int& item) { finished.push_back(item); });
      };
      if (bad < 0) {
        run();
        EXPECT_EQ(finished.size(), 100u);
      } else {
        try {
          run();
          ADD_FAILURE() << "no error";
        } catch (const std::runtime_error& error) {
          EXPECT_EQ(error.what(), std::to_string(bad));
        }
        EXPECT_EQ(finished.size(), static_cast<std::size_t>(bad));
      }
      for (std::size_t i = 0; i < finished.size(); ++i) EXPECT_EQ(finished[i], static_cast<int>(i));
    }
  }
}

}  // namespace
}  // namespace moebox
