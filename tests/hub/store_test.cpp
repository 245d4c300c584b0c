// The store as a user sees it: find, list, remove, unknown names, the environment.
#include "hub/store.h"

#include <algorithm>

#include "base/file_lock.h"
#include "hub/catalogue.h"
#include "hub/support.h"

namespace moebox::test {
namespace {

HubOptions in(const TempFolder& folder) {
  HubOptions options;
  options.store = folder / "store";
  return options;
}

/// Changes the working directory until the end of the scope.
class WorkingFolder {
 public:
  explicit WorkingFolder(const std::filesystem::path& path) : before_(std::filesystem::current_path()) {
    std::filesystem::current_path(path);
  }
  ~WorkingFolder() { std::filesystem::current_path(before_); }
  WorkingFolder(const WorkingFolder&) = delete;
  WorkingFolder& operator=(const WorkingFolder&) = delete;

 private:
  std::filesystem::path before_;
};

TEST(Store, SplitFiles) {
  EXPECT_EQ(split_parts("x.gguf"), std::vector<std::string>{"x.gguf"});
  EXPECT_EQ(split_parts("x-00001-of-00002.gguf"),
            (std::vector<std::string>{"x-00001-of-00002.gguf", "x-00002-of-00002.gguf"}));
  for (const char* alone : {"-00001-of-00002.gguf", "x-00002-of-00002.gguf", "x-00001-of-0000a.gguf",
                            "x-00001-of-00000.gguf", "x-00001-of-99999.gguf"}) {
    EXPECT_EQ(split_parts(alone).size(), 1u) << alone;
  }
}

TEST(Store, PathsAreFoundAsTheyAre) {
  TempFolder folder;
  write_file(folder / "m.gguf", "x");
  const Hub hub(in(folder));
  EXPECT_EQ(hub.find((folder / "m.gguf").string()), folder / "m.gguf");
  EXPECT_FALSE(hub.find((folder / "n.gguf").string()));
}

TEST(Store, ACatalogueNameGoesBeforeAFileHere) {
  TempFolder folder;
  write_file(folder / "smollm2-135m-instruct/config.json", "{}");
  const WorkingFolder here(folder.path());
  const Hub hub(in(folder));
  EXPECT_FALSE(hub.find("smollm2-135m-instruct"));
  EXPECT_TRUE(hub.find("./smollm2-135m-instruct"));
}

TEST(Store, AFileOfAnotherSizeIsNotTheModel) {
  TempFolder folder;
  write_file(folder / "store/smollm2-135m-instruct-q4_1.gguf", "short");
  EXPECT_FALSE(Hub(in(folder)).find("smollm2-135m-instruct"));
}

TEST(Store, ListsAndRemoves) {
  TempFolder folder;
  write_file(folder / "mine.json", R"({"format": 1, "models": [{"name": "mine", "source": "hf:o/r/m.gguf"}]})");
  write_file(folder / "store/m.gguf", "12345");
  write_file(folder / "store/own.gguf", "1");
  write_file(folder / "store/half.gguf.part", "1");
  write_file(folder / "store/s-00001-of-00002.gguf", "1");
  write_file(folder / "store/s-00002-of-00002.gguf", "22");
  write_file(folder / "store/t-00001-of-00002.gguf", "1");
  write_file(folder / "store/notes.txt", "x");
  write_file(folder / "store/dir/config.json", "{}");
  write_file(folder / "store/hf/o/r/main/files/sub/x.gguf", "123");
  write_file(folder / "store/hf/o/r/refs%2Fpr%2F1/folder/config.json", "{}");
  write_file(folder / "store/hf/o/r/v2/folder.part/config.json", "{}");
  HubOptions options = in(folder);
  options.catalogues = {folder / "mine.json"};
  Hub hub(options);
  std::vector<std::string> names;
  for (const auto& model : hub.list()) {
    names.push_back(model.name);
    EXPECT_EQ(hub.find(model.name), model.path) << model.name;
    EXPECT_GT(model.modified_unix, 1600000000) << model.name;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"dir", "mine", "own.gguf", "s-00001-of-00002.gguf", "hf:o/r/sub/x.gguf",
                                             "hf:o/r@refs/pr/1"}));
  EXPECT_EQ(hub.list()[1].size_bytes, 5u);
  EXPECT_EQ(hub.list()[3].size_bytes, 3u);

  for (const std::string& name : names) {
    hub.remove(name);
    EXPECT_FALSE(hub.find(name)) << name;
    error_of(ErrorKind::not_found, [&] { hub.remove(name); });
  }
  EXPECT_TRUE(hub.list().empty());
  EXPECT_EQ(names_below(folder / "store"),
            (std::vector<std::string>{"half.gguf.part", "hf/o/r/v2/folder.part/config.json", "notes.txt",
                                      "t-00001-of-00002.gguf"}));
  hub.remove("hf:o/r@v2");
  EXPECT_FALSE(std::filesystem::exists(folder / "store/hf"));
}

TEST(Store, RemoveTouchesNothingOutside) {
  TempFolder folder;
  write_file(folder / "m.gguf", "x");
  Hub hub(in(folder));
  expect_in(error_of(ErrorKind::invalid_argument, [&] { hub.remove((folder / "m.gguf").string()); }), "outside");
  std::filesystem::create_directories(folder / "store");
  error_of(ErrorKind::invalid_argument, [&] { hub.remove((folder / "store/../m.gguf").string()); });
  EXPECT_EQ(read_file(folder / "m.gguf"), "x");
}

TEST(Store, RemoveWaitsForNoPull) {
  TempFolder folder;
  write_file(folder / "store/own.gguf", "1");
  const FileLock pull = FileLock::acquire(folder / "store/own.gguf.lock");
  Hub hub(in(folder));
  expect_in(error_of(ErrorKind::resource, [&] { hub.remove("own.gguf"); }), "being pulled");
}

TEST(Store, UnknownNamesSayWhatIsNear) {
  TempFolder folder;
  Hub hub(in(folder));
  const std::string near = error_of(ErrorKind::not_found, [&] { hub.pull("smolm2-135m-instruct"); });
  expect_in(near, "did you mean smollm2-135m-instruct");
  expect_in(near, "hf:owner/repo");
  expect_in(error_of(ErrorKind::not_found, [&] { hub.pull("zzzzzzzzzzzzzzzz"); }), "a name of the catalogue");
  expect_in(error_of(ErrorKind::not_found, [&] { hub.pull("Qwen/Qwen2.5-0.5B-Instruct"); }),
            "hf:Qwen/Qwen2.5-0.5B-Instruct");
  expect_in(error_of(ErrorKind::not_found, [&] { hub.pull("/no/such/file.gguf"); }), "no such file");
  error_of(ErrorKind::invalid_argument, [&] { hub.find("hf:../x"); });
}

TEST(Store, UserCataloguesMayNamePaths) {
  TempFolder folder;
  write_file(folder / "c/m.gguf", "x");
  write_file(
      folder / "c/mine.json",
      R"({"format": 1, "models": [{"name": "mine", "source": "m.gguf"}, {"name": "gone", "source": "gone.gguf"}]})");
  HubOptions options = in(folder);
  options.catalogues = {folder / "c/mine.json"};
  Hub hub(options);
  EXPECT_EQ(hub.pull("mine"), folder / "c/m.gguf");
  expect_in(error_of(ErrorKind::not_found, [&] { hub.pull("gone"); }), "gone.gguf");
}

TEST(Store, Environment) {
  TempFolder folder;
  const EnvironmentVariable home("HOME", folder.path().c_str()), cache("XDG_CACHE_HOME", nullptr),
      store("MOEBOX_STORE", nullptr), token("HF_TOKEN", nullptr), token_path("HF_TOKEN_PATH", nullptr),
      hf_home("HF_HOME", nullptr), catalogue("MOEBOX_CATALOGUE", "/a.json:/b.json"), endpoint("HF_ENDPOINT", nullptr);
  EXPECT_EQ(hub_options_from_environment().store, folder / ".cache/moebox/models");
  EXPECT_EQ(hub_options_from_environment().hf_endpoint, "https://huggingface.co");
  EXPECT_EQ(hub_options_from_environment().hf_token, "");
  EXPECT_EQ(hub_options_from_environment().catalogues.size(), 2u);
  write_file(folder / ".cache/huggingface/token", "hf_from_file\n");
  EXPECT_EQ(hub_options_from_environment().hf_token, "hf_from_file");
  const EnvironmentVariable token_now("HF_TOKEN", " hf_x\n"), cache_now("XDG_CACHE_HOME", "/xdg"),
      endpoint_now("HF_ENDPOINT", "http://mirror");
  EXPECT_EQ(hub_options_from_environment().hf_token, "hf_x");
  EXPECT_EQ(hub_options_from_environment().store, "/xdg/moebox/models");
  EXPECT_EQ(hub_options_from_environment().hf_endpoint, "http://mirror");
  const EnvironmentVariable store_now("MOEBOX_STORE", "/models");
  EXPECT_EQ(hub_options_from_environment().store, "/models");
}

}  // namespace
}  // namespace moebox::test
