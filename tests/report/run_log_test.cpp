// Logs as they are read: whole, being written, broken, hostile; and the chain, against Python's hashlib.
#include <cmath>

#include <gtest/gtest.h>

#include "base/error.h"
#include "report/run_testing.h"

namespace moebox::report::test {
namespace {

using moebox::test::expect_error;
using moebox::test::TemporaryFolder;
using moebox::test::write_file;

class RunLogReader : public ::testing::Test {
 protected:
  LogEnd read(const std::string& text) {
    write_file(file_, text);
    steps_.clear();
    return read_log(
        file_, [&](const Json& head) { head_ = head; }, [&](const LoggedStep& step) { steps_.push_back(step); });
  }
  void expect_refused(const std::string& text, std::initializer_list<std::string_view> parts) {
    expect_error(ErrorKind::invalid_file, parts, [&] { read(text); });
  }

  TemporaryFolder folder_;
  const std::filesystem::path file_ = folder_ / log_name;
  Json head_;
  std::vector<LoggedStep> steps_;
};

TEST_F(RunLogReader, TheChainIsWhatPythonComputes) {
  std::vector<LoggedStep> steps;
  const LogEnd end = read_log(
      std::filesystem::path(MOEBOX_TEST_DIR) / "golden/report" / log_name, [&](const Json& head) { head_ = head; },
      [&](const LoggedStep& step) { steps.push_back(step); });
  EXPECT_EQ(end.first_wrong_link, 0);
  EXPECT_EQ(end.n_steps, 8);
  EXPECT_EQ(head_["learning_rate"], 0.001);
  EXPECT_FALSE(head_.contains("chain"));
  EXPECT_TRUE(std::isnan(steps[4].loss));
  EXPECT_TRUE(steps[4].skipped);
  EXPECT_EQ(steps[5].left_out, 2);
  EXPECT_EQ(steps[2].peak_bytes, (1 << 30) + (3 << 20));
  EXPECT_EQ(steps[1].loads[0].tokens, (std::vector<std::int64_t>{128, 32, 32, 0}));
}

TEST_F(RunLogReader, ALineThatIsBeingWrittenIsLeftOut) {
  const std::string text = log_text(log_lines(3));
  const auto last = text.rfind('\n', text.size() - 2) + 1;
  for (const std::size_t length : {text.size() - 1, last + 1, last}) {
    const LogEnd end = read(text.substr(0, length));
    EXPECT_EQ(end.n_steps, 2);
    EXPECT_EQ(end.cut_bytes, static_cast<std::int64_t>(length - last));
    EXPECT_EQ(steps_.size(), 2u);
  }
  EXPECT_EQ(read(text).cut_bytes, 0);
  EXPECT_EQ(read(log_text({head_line()})).n_steps, 0);
  expect_refused("", {"no whole line yet"});
  expect_refused(text.substr(0, 50), {"no whole line yet"});
}

TEST_F(RunLogReader, ABrokenLineIsNamed) {
  std::vector<Json> lines = log_lines(4);
  const std::string text = log_text(lines);
  const auto third = text.find("{\"step\":2");
  expect_refused(text.substr(0, third) + "}nonsense\n" + text.substr(third),
                 {log_name, ":3", "not what the run wrote"});
  expect_refused(text.substr(0, third) + "[1]\n", {":3"});
  expect_refused(text.substr(0, third) + text.substr(text.find("{\"step\":3")), {":3", "step 2", "step 3"});
  expect_refused("{\"chain\":\"x\"}\n", {":1", "begins a run's log"});
  expect_refused("{\"moebox_train\":1}\n", {":1", "link"});
  expect_refused(std::string(100'000, '[') + "\n", {":1"});
  expect_refused(std::string(std::size_t{17} << 20, 'x'), {"16 MiB"});
  expect_refused("{\"moebox_train\":\"\xff\",\"chain\":\"\"}\n", {":1"});
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, Json>>{{"loss", "7"},
                                                 {"tokens", -1},
                                                 {"tokens", 1.5},
                                                 {"targets", 18446744073709551615u},
                                                 {"skipped", 1},
                                                 {"further", 1},
                                                 {"further", {"x"}},
                                                 {"load", 3},
                                                 {"load", {{"one", {1}}}},
                                                 {"load", {{"1", Json::array()}}},
                                                 {"load", {{"1", {-1}}}},
                                                 {"load", {{"1", std::vector<int>(70'000)}}}}) {
    lines = log_lines(1);
    lines[1][key] = value;
    expect_refused(log_text(lines), {":2", key});
  }
}

TEST_F(RunLogReader, ALineThatWasNeverTextIsReadAsWell) {
  Json line = {
      {"step", std::int64_t{3}}, {"tokens", std::int64_t{7}}, {"load", {{"2", std::vector<std::int64_t>{4, 5}}}}};
  const LoggedStep step = read_step(line, "");
  EXPECT_EQ(step.step, 3);
  EXPECT_EQ(step.loads[0].tokens, (std::vector<std::int64_t>{4, 5}));
  line["tokens"] = std::int64_t{-7};
  expect_error(ErrorKind::invalid_file, {"tokens"}, [&] { read_step(line, "x"); });
}

TEST_F(RunLogReader, AWrongLinkIsTold) {
  std::string text = log_text(log_lines(4));
  text[text.find("1.5", text.find("{\"step\":2"))] = '2';
  EXPECT_EQ(read(text).first_wrong_link, 3);
  EXPECT_EQ(read(log_text(log_lines(4))).first_wrong_link, 0);
  // Times and memory are no part of it.
  text = log_text(log_lines(4));
  text.replace(text.find("0.5"), 3, "9.5");
  EXPECT_EQ(read(text).first_wrong_link, 0);
}

}  // namespace
}  // namespace moebox::report::test
