// Manifests and the shards they list.
#include "data/dataset.h"

#include <gtest/gtest.h>

#include "data/data_testing.h"

namespace moebox {
namespace {

using data::Dataset;
using data::Manifest;
using test::expect_error;

TEST(Dataset, DocumentsAreNumberedByDomainAndShard) {
  const test::TemporaryFolder folder;
  test::write_dataset(folder.path(),
                      {{"wiki", test::documents_of({3, 4, 5}), {}, data::Level::general},
                       {"code", test::documents_of({7, 2}), {}, data::Level::domain}},
                      2);
  const Dataset dataset = Dataset::open(folder.path());
  ASSERT_EQ(dataset.domains().size(), 2u);
  EXPECT_EQ(dataset.domains()[0].name, "wiki");
  EXPECT_EQ(dataset.domains()[0].n_documents, 3);
  EXPECT_EQ(dataset.domains()[1].first_document, 3);
  EXPECT_EQ(dataset.domains()[1].level, data::Level::domain);
  EXPECT_EQ(dataset.n_tokens(), 21);
  EXPECT_EQ(dataset.vocabulary_size(), 1000);
  const int sizes[] = {3, 4, 5, 7, 2};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(dataset.document(i).range.size(), sizes[i]);
}

TEST(Dataset, TheDigestIsThatOfTheContent) {
  const test::TemporaryFolder a, b, c;
  test::write_dataset(a.path(), {{"x", test::documents_of({3, 4})}});
  test::write_dataset(b.path(), {{"x", test::documents_of({3, 4})}});
  test::write_dataset(c.path(), {{"x", test::documents_of({4, 3})}});
  EXPECT_EQ(Dataset::open(a.path()).digest(), Dataset::open(b.path()).digest());
  EXPECT_NE(Dataset::open(a.path()).digest(), Dataset::open(c.path()).digest());
}

TEST(Dataset, WrongFilesAreNamed) {
  const test::TemporaryFolder folder;
  expect_error(ErrorKind::not_found, {"dataset.json"}, [&] { Dataset::open(folder.path()); });
  test::write_dataset(folder.path(), {{"x", test::documents_of({3, 4, 9})}}, 1);
  const auto shard = folder / "train-x-1.safetensors";
  const std::string good = test::read_file(shard);

  test::write_file(shard, good.substr(0, good.size() - 1));
  expect_error(ErrorKind::invalid_file, {"train-x-1.safetensors", "checksum"}, [&] { Dataset::open(folder.path()); });
  std::string damaged = good;
  damaged.back() ^= 1;
  test::write_file(shard, damaged);
  expect_error(ErrorKind::invalid_file, {"train-x-1.safetensors", "checksum"}, [&] { Dataset::open(folder.path()); });
  test::write_file(shard, test::read_file(folder / "train-x-0.safetensors"));
  expect_error(ErrorKind::invalid_file, {"train-x-1.safetensors", "checksum"}, [&] { Dataset::open(folder.path()); });
  std::filesystem::remove(shard);
  expect_error(ErrorKind::not_found, {"train-x-1.safetensors"}, [&] { Dataset::open(folder.path()); });
  test::write_file(shard, good);
  EXPECT_EQ(Dataset::open(folder.path()).n_documents(), 3);
}

TEST(Dataset, ATokenizerThatDoesNotMatch) {
  const test::TemporaryFolder folder;
  test::write_dataset(folder.path(), {{"x", test::documents_of({3})}});
  Dataset::Options options;
  options.tokenizer = std::string(64, 'e');
  expect_error(ErrorKind::invalid_argument, {"dataset.json", "0000000000000000...", "eeeeeeeeeeeeeeee..."},
               [&] { Dataset::open(folder.path(), options); });
  options.tokenizer = std::string(64, '0');
  EXPECT_EQ(Dataset::open(folder.path(), options).n_tokens(), 3);
  options.split = "held_out";
  expect_error(ErrorKind::invalid_argument, {"no split 'held_out'"}, [&] { Dataset::open(folder.path(), options); });
}

TEST(Dataset, AManifestThatSaysAnotherThingThanTheShards) {
  const test::TemporaryFolder folder;
  const Manifest manifest = test::write_dataset(folder.path(), {{"x", test::documents_of({3, 4})}});
  const auto expect_refused = [&](const Manifest& changed, std::string_view what) {
    test::write_file(folder / data::manifest_name, changed.text());
    expect_error(ErrorKind::invalid_file, {"train-x-0.safetensors", what}, [&] { Dataset::open(folder.path()); });
  };
  Manifest changed = manifest;
  changed.vocabulary_size = 999;
  expect_refused(changed, "vocabulary");
  changed = manifest;
  changed.tokenizer = std::string(64, '1');
  expect_refused(changed, "tokenizer");
  changed = manifest;
  changed.domains[0].name = "y";
  expect_refused(changed, "domain");
  changed = manifest;
  changed.shards[0].record.n_tokens = 8;
  expect_refused(changed, "tokens");
}

TEST(Manifest, GivesBackWhatWasWritten) {
  const test::TemporaryFolder folder;
  Manifest manifest =
      test::write_dataset(folder.path(), {{"x", test::documents_of({3}), 0.25, data::Level::synthetic}});
  manifest.domains[0].report = {{"dropped", {{"empty", 2}}}, {"read", 5}};
  const Manifest read = Manifest::parse(manifest.text(), "m");
  EXPECT_EQ(read.text(), manifest.text());
  EXPECT_EQ(read.domains[0].weight, 0.25);
  EXPECT_EQ(read.domains[0].report["dropped"]["empty"], 2);
  EXPECT_EQ(read.shards[0].record.digest, manifest.shards[0].record.digest);
}

TEST(Manifest, RefusesWhatItMayNotSay) {
  const test::TemporaryFolder folder;
  const std::string good = test::write_dataset(folder.path(), {{"x", test::documents_of({3}), 1.0}}).text();
  const auto expect_refused = [&](std::string_view from, std::string_view to,
                                  std::initializer_list<std::string_view> parts) {
    std::string text = good;
    const auto at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    expect_error(ErrorKind::invalid_file, {"m.json"}, [&] { Manifest::parse(text, "m.json"); });
    expect_error(ErrorKind::invalid_file, parts, [&] { Manifest::parse(text, "m.json"); });
  };
  expect_refused("moebox-data", "other", {"the format moebox-data"});
  expect_refused("train-x-0.safetensors", "../x.safetensors", {"'file'", "in this folder"});
  expect_refused("train-x-0.safetensors", "/etc/x.safetensors", {"'file'"});
  expect_refused("train-x-0.safetensors", ".safetensors", {"'file'"});
  expect_refused("\"split\": \"train\"", "\"split\": \"test\"", {"train or held_out", "test"});
  expect_refused("\"domain\": \"x\"", "\"domain\": \"z\"", {"one of the domains"});
  expect_refused("\"tokens\": 3", "\"tokens\": -3", {"'tokens'"});
  expect_refused("\"tokens\": 3", "\"tokens\": 3.5", {"'tokens'"});
  expect_refused("\"tokens\": 3", "\"tokens\": 18446744073709551615", {"'tokens'"});
  expect_refused("\"tokens\": 3", "\"token\": 3", {"tokens"});
  expect_refused("\"weight\": 1.0", "\"weight\": NaN", {"not valid JSON"});
  expect_refused("\"weight\": 1.0", "\"weight\": -1", {"'weight'"});
  expect_refused("\"weight\": 1.0", "\"weight\": 1e999", {"out of range"});
  expect_refused("\"settings\": {}", "\"settings\": {}, \"more\": 1", {"'more'", "not known"});
  expect_refused("\"settings\": {}", "\"settings\": {\"a\": 1, \"a\": 2}", {"twice"});
  for (const std::string_view text : {"", "[]", "null", "{", "\"x\""})
    expect_error(ErrorKind::invalid_file, {"m.json"}, [&] { Manifest::parse(text, "m.json"); });
  std::string newer = good;
  newer.replace(newer.find("\"format_version\": 1"), 19, "\"format_version\": 2");
  expect_error(ErrorKind::unsupported, {"version 1", "2"}, [&] { Manifest::parse(newer, "m.json"); });
}

}  // namespace
}  // namespace moebox
