// Event files, against what TensorBoard's own reader found in the very same bytes.
#include <cmath>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/io_testing.h"
#include "report/run/events.h"

namespace moebox::report {
namespace {

namespace fs = std::filesystem;

const fs::path golden = fs::path(MOEBOX_TEST_DIR) / "golden/report";
constexpr double last_written = 1'700'000'000;  // as make_golden.py says

std::string bytes_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  EXPECT_TRUE(in) << file;
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Tensorboard, ChecksumsAreThoseOfTheStandard) {
  // RFC 3720, B.4.
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  std::string counting;
  for (char c = 0; c < 32; ++c) counting += c;
  EXPECT_EQ(crc32c(counting), 0x46dd794eu);
}

TEST(Tensorboard, ALogBecomesTheBytesThatTensorboardRead) {
  const test::TemporaryFolder folder;
  const fs::path file = convert_log(golden / log_name, folder.path() / "events", last_written);
  EXPECT_EQ(file.filename(), "events.out.tfevents.0000000000.moebox");
  EXPECT_EQ(bytes_of(file), bytes_of(golden / "events" / file.filename()));
  // Made again, it is replaced.
  EXPECT_EQ(convert_log(golden / log_name, folder.path() / "events", last_written), file);

  // What their reader found in these bytes is what the log says.
  std::map<std::string, std::vector<std::array<double, 3>>> expected;
  double time = last_written - 8 * 0.5;
  read_log(
      golden / log_name, [](const auto&) {},
      [&](const LoggedStep& step) {
        time += 0.5;
        for (const auto& [tag, value] : scalars_of(step))
          expected[tag].push_back(
              {time, static_cast<double>(step.step), static_cast<double>(static_cast<float>(value))});
      });
  const auto read = nlohmann::json::parse(bytes_of(golden / "events.json"));
  EXPECT_EQ(read.get<decltype(expected)>(), expected);
  EXPECT_EQ(expected.at("loss/cross_entropy").size(), 7u) << "a step without a number has none";
  EXPECT_EQ(expected.at("experts_busiest_over_mean/layer_1")[0][2], 2.0);
  EXPECT_EQ(expected.at("experts_idle/layer_1")[0][2], 1.0);
  EXPECT_EQ(expected.at("memory/peak_bytes").size(), 6u);
}

TEST(Tensorboard, AResumedRunReplacesWhatItDoesAgain) {
  const auto session = [](double time, std::int64_t first, std::int64_t last, double value) {
    std::string all = version_record(time) + start_record(time, first);
    for (std::int64_t step = first; step <= last; ++step)
      all += scalars_record(time + static_cast<double>(step), step, {{"loss/total", value}});
    return all;
  };
  const std::pair<const char*, std::string> files[] = {
      {"events.out.tfevents.1700000000.moebox", session(last_written, 1, 5, 1)},
      {"events.out.tfevents.1700000100.moebox", session(last_written + 100, 4, 6, 2)}};
  for (const auto& [name, bytes] : files) {
    const fs::path file = golden / "resumed" / name;
    if (!fs::exists(file)) {
      std::ofstream(file, std::ios::binary) << bytes;
      ADD_FAILURE() << file << " was missing and is there now: run make_golden.py";
    }
    EXPECT_EQ(bytes_of(file), bytes);
  }
  std::vector<std::pair<std::int64_t, double>> points;
  const auto read = nlohmann::json::parse(bytes_of(golden / "resumed.json"));
  for (const auto& point : read.at("loss/total")) points.emplace_back(point[1], point[2]);
  EXPECT_EQ(points, (std::vector<std::pair<std::int64_t, double>>{{1, 1}, {2, 1}, {3, 1}, {4, 2}, {5, 2}, {6, 2}}));
}

TEST(Tensorboard, EveryFileOfARunComesBehindTheOthers) {
  const test::TemporaryFolder folder;
  std::ofstream(folder.path() / "events.out.tfevents.9000000000.moebox") << "from a clock that was wrong";
  EventFile first(folder.path(), 1), second(folder.path(), 3);
  first.add({.step = 1, .loss = 2});
  second.add({.step = 3, .loss = NAN});
  for (const char* name : {"events.out.tfevents.9000000001.moebox", "events.out.tfevents.9000000002.moebox"})
    EXPECT_GT(fs::file_size(folder.path() / name), 100u) << name;
  try {
    convert_log(golden / log_name, folder.path());
    FAIL() << "expected that events of others are not joined";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_NE(error.message().find("other events are there"), std::string::npos);
  }
  EXPECT_THROW(EventFile(folder.path() / "nowhere", 1), Error);
}

}  // namespace
}  // namespace moebox::report
