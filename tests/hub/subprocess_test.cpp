// Running other programs: arguments as they are, output and errors apart, an end to everything.
#include "hub/subprocess.h"

#include <chrono>

#include "hub/support.h"

namespace moebox::test {
namespace {

TEST(Subprocess, ArgumentsReachTheProgramUnchanged) {
  std::string output;
  ProcessOptions options{
      .arguments = {"printf", "%s|", "a b", "$HOME", "`id`", "'\"", "*"}, .environment = {}, .folder = {}};
  const auto result = run_process(options, [&](std::string_view text) { output += text; }, [] {});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(output, "a b|$HOME|`id`|'\"|*|");
}

TEST(Subprocess, EnvironmentFolderErrorsAndCode) {
  TempFolder folder;
  std::string output;
  ProcessOptions options{.arguments = {"sh", "-c", "pwd; echo $MOEBOX_X; echo bad >&2; exit 7"},
                         .environment = {{"MOEBOX_X", "value"}},
                         .folder = folder.path()};
  const auto result = run_process(options, [&](std::string_view text) { output += text; }, [] {});
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_EQ(output, folder.path().string() + "\nvalue\n");
  EXPECT_EQ(result.error_output, "bad\n");
}

TEST(Subprocess, LongOutputIsCompleteAndErrorsAreBounded) {
  std::uint64_t bytes = 0;
  ProcessOptions options{.arguments = {"sh", "-c", "head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2"},
                         .environment = {},
                         .folder = {}};
  const auto result = run_process(options, [&](std::string_view text) { bytes += text.size(); }, [] {});
  EXPECT_EQ(bytes, 5000000u);
  EXPECT_LE(result.error_output.size(), 16u << 10);
}

TEST(Subprocess, UnknownProgram) {
  expect_in(error_of(ErrorKind::not_found,
                     [] {
                       run_process(
                           {.arguments = {"moebox-no-such-program"}, .environment = {}, .folder = {}}, [](auto) {},
                           [] {});
                     }),
            "moebox-no-such-program");
}

TEST(Subprocess, AnExceptionEndsTheChild) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(run_process(
                   {.arguments = {"sleep", "60"}, .environment = {}, .folder = {}}, [](auto) {},
                   [] { throw std::runtime_error("stop"); }),
               std::runtime_error);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(Subprocess, AGrandchildThatKeepsThePipeDoesNotHang) {
  const auto start = std::chrono::steady_clock::now();
  run_process({.arguments = {"sh", "-c", "sleep 20 & exit 0"}, .environment = {}, .folder = {}}, [](auto) {}, [] {});
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(Subprocess, SignalsAreReported) {
  const auto result =
      run_process({.arguments = {"sh", "-c", "kill -9 $$"}, .environment = {}, .folder = {}}, [](auto) {}, [] {});
  EXPECT_EQ(result.exit_code, 128 + 9);
}

}  // namespace
}  // namespace moebox::test
