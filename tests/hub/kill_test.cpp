// Pulls in processes of their own: killed at any moment, several at once, on a disk that is full.
#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "hub/fake_hub.h"
#include "hub/partial_file.h"
#include "hub/store.h"
#include "hub/subprocess.h"
#include "hub/support.h"

extern char** environ;

namespace moebox::test {
namespace {

const std::string whole = model_bytes(3'000'000);

pid_t start(std::vector<std::string> arguments) {
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  EXPECT_EQ(posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

/// The exit status when the process ends within this time.
std::optional<int> wait_ms(pid_t pid, int milliseconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  int status = 0;
  do {
    if (waitpid(pid, &status, WNOHANG) == pid) return status;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  } while (std::chrono::steady_clock::now() < end);
  return std::nullopt;
}

/// Sends a body slowly enough for a kill to hit it.
FakeHub::Hook slowly(FakeHub& hub) {
  return [&hub](const ServerRequest& request, ServerStream& stream) {
    const std::string name = request.target.substr(std::strlen("/cdn/"));
    const RangeAnswer answer(request, hub.files.at(name).bytes, "\"t\"");
    if (!stream.send(answer.head)) return true;
    for (std::size_t at = 0; at < answer.body.size(); at += 20'000) {
      if (!hub.send_cdn(stream, std::string_view(answer.body).substr(at, 20'000))) return true;
      stream.sleep_ms(5);
    }
    return true;
  };
}

class KillTest : public ::testing::Test {
 protected:
  std::vector<std::string> command(const FakeHub& hub, const std::string& model) const {
    return {MOEBOX_PULL_PROGRAM, (folder_ / "store").string(), hub.endpoint(), model};
  }

  /// Starts and kills twelve times, now after a while and now after some bytes, then lets one finish; `check` looks at
  /// the store after each kill. Returns how many were killed.
  template <class Check>
  int kill_until_done(const FakeHub& hub, const std::string& model, unsigned seed, Check&& check) {
    std::mt19937 random(seed);
    int kills = 0;
    for (int round = 0; round < 12; ++round) {
      const std::uint64_t enough = hub.cdn_bytes + random() % (round % 2 == 0 ? 1'000'000'000 : 100'000);
      const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(random() % 60);
      const pid_t pid = start(command(hub, model));
      std::optional<int> status;
      while (!status && hub.cdn_bytes < enough && (round % 2 != 0 || std::chrono::steady_clock::now() < end))
        status = wait_ms(pid, 1);
      if (!status) {
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
        ++kills;
      }
      check();
    }
    EXPECT_EQ(wait_ms(start(command(hub, model)), 60'000), 0);
    return kills;
  }

  TempFolder folder_;
  EnvironmentVariable http_proxy_{"http_proxy", nullptr}, all_proxy_{"all_proxy", nullptr},
      upper_{"ALL_PROXY", nullptr};
};

TEST_F(KillTest, AKilledPullNeverLeavesAHalfFile) {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    std::filesystem::remove_all(folder_ / "store");
    FakeHub hub({{"m.gguf", {whole}}});
    hub.on_cdn = slowly(hub);
    const auto file = folder_ / "store/hf/o/r/main/files/m.gguf";
    std::uint64_t most = 0;
    bool kept = true;
    const int kills = kill_until_done(hub, "hf:o/r/m.gguf", seed, [&] {
      if (std::filesystem::exists(file)) {
        EXPECT_EQ(read_file(file), whole);
      }
      const std::uint64_t now = std::filesystem::exists(file) ? whole.size() : bytes_at(part_path(file));
      kept &= now >= most;
      most = std::max(most, now);
    });
    EXPECT_EQ(read_file(file), whole);
    EXPECT_TRUE(kept) << "a later pull threw away what an earlier one had";
    EXPECT_GE(kills, 4);
    // What was in flight when a kill came is lost, no more: far less than a fresh start each time.
    EXPECT_LT(hub.cdn_bytes, whole.size() + static_cast<std::uint64_t>(kills) * 600'000);
  }
}

TEST_F(KillTest, AKilledFolderNeverAppearsHalf) {
  FakeHub hub({{"config.json", {"{}", false}},
               {"model-00001-of-00002.safetensors", {model_bytes(1'400'000, 1)}},
               {"model-00002-of-00002.safetensors", {model_bytes(1'300'000, 2)}}});
  hub.on_cdn = slowly(hub);
  const auto folder = folder_ / "store/hf/o/r/main/folder";
  const auto expect_whole = [&] {
    for (const auto& [name, file] : hub.files) EXPECT_EQ(read_file(folder / name), file.bytes) << name;
  };
  const int kills = kill_until_done(hub, "hf:o/r", 11, [&] {
    if (std::filesystem::exists(folder)) expect_whole();
  });
  EXPECT_GE(kills, 4);
  expect_whole();
  EXPECT_EQ(names_below(folder).size(), 3u);
}

TEST_F(KillTest, ProcessesWaitForEachOther) {
  FakeHub hub({{"m.gguf", {whole}}});
  hub.on_cdn = slowly(hub);
  std::vector<pid_t> pids;
  for (int i = 0; i < 3; ++i) pids.push_back(start(command(hub, "hf:o/r/m.gguf")));
  for (const pid_t pid : pids) EXPECT_EQ(wait_ms(pid, 30'000), 0);
  EXPECT_EQ(read_file(folder_ / "store/hf/o/r/main/files/m.gguf"), whole);
  EXPECT_EQ(hub.cdn_bytes, whole.size()) << "fetched once";
}

TEST_F(KillTest, TheNextGoesOnWhenTheHolderIsKilled) {
  FakeHub hub({{"m.gguf", {whole}}});
  hub.on_cdn = slowly(hub);
  const pid_t first = start(command(hub, "hf:o/r/m.gguf"));
  while (hub.cdn_bytes < 100'000) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const pid_t second = start(command(hub, "hf:o/r/m.gguf"));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  kill(first, SIGKILL);
  waitpid(first, nullptr, 0);
  EXPECT_EQ(wait_ms(second, 30'000), 0);
  EXPECT_EQ(read_file(folder_ / "store/hf/o/r/main/files/m.gguf"), whole);
}

TEST_F(KillTest, AFullDiskIsSaidAndTheRestFollows) {
  FakeHub hub({{"m.gguf", {whole}}});
  auto limited = command(hub, "hf:o/r/m.gguf");
  limited.push_back("400000");
  std::string output;
  const auto result = run_process(
      {.arguments = limited, .environment = {}, .folder = {}}, [&](std::string_view text) { output += text; }, [] {});
  EXPECT_EQ(result.exit_code, 1);
  expect_in(output, "disk is full");
  expect_in(output, "m.gguf.part");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "store/hf/o/r/main/files/m.gguf"));
  EXPECT_EQ(bytes_at(folder_ / "store/hf/o/r/main/files/m.gguf.part"), 400'000u);
  EXPECT_EQ(wait_ms(start(command(hub, "hf:o/r/m.gguf")), 30'000), 0);
  EXPECT_EQ(read_file(folder_ / "store/hf/o/r/main/files/m.gguf"), whole);
  EXPECT_EQ(range_start(hub.cdn->requests().back()), 400'000u);
}

}  // namespace
}  // namespace moebox::test
