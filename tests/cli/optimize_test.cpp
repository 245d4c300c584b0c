#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/optimize_findings.h"
#include "cli/optimize_trial.h"
#include "cli/profile.h"

namespace moebox::cli {
namespace {

namespace fs = std::filesystem;

Trial trial(const std::vector<double>& decode) {
  Trial made{.name = "made", .settings = {}};
  for (const double speed : decode) {
    Speeds speeds;
    speeds.prefill = 1000;
    speeds.decode = speeds.batch = speed;
    made.rounds.push_back(speeds);
  }
  return made;
}

TEST(BestTrial, IsFasterByMoreThanNoise) {
  const Workload work;
  EXPECT_EQ(best_trial({trial({100, 100, 100}), trial({150, 149, 151})}, work), 1u);
  EXPECT_EQ(best_trial({trial({100, 100, 100}), trial({101, 101, 101})}, work), 0u);
  EXPECT_EQ(best_trial({trial({100, 100, 100}), trial({150, 149, 151}), trial({200, 200, 200})}, work), 2u);
  EXPECT_EQ(best_trial({trial({100, 100, 100}), trial({50, 50, 50})}, work), 0u);
}

TEST(BestTrial, WinsMostRounds) {
  // Its median is better only because the first one had a bad moment in a round of its own.
  EXPECT_EQ(best_trial({trial({100, 60, 60, 120}), trial({90, 90, 90, 90})}, Workload{}), 0u);
}

TEST(BestTrial, OfManyAnswersAtOnceWhereTheseCount) {
  Trial batch = trial({100, 100, 100}), single = trial({200, 200, 200});
  for (Speeds& round : batch.rounds) round.batch = 900;
  EXPECT_EQ(best_trial({single, batch}, Workload{}), 0u);
  EXPECT_EQ(best_trial({single, batch}, Workload{.serving = true}), 1u);
}

std::string text_of(const Observation& seen, const std::string& topic) {
  for (const Finding& finding : findings(seen)) {
    if (finding.topic == topic) return finding.text;
  }
  return "";
}

Observation observation() {
  Observation seen;
  seen.speeds.read_bytes_per_token = 1'000'000'000;
  seen.speeds.prefill = 100;
  seen.speeds.decode = 20;
  seen.speeds.batch = 100;
  seen.speeds.load_seconds = 0.5;
  seen.speeds.limits = {
      .read_bytes_per_second = 25e9, .int8_operations_per_second = 1e12, .float_operations_per_second = 2e11};
  seen.multiply_adds = 3e9;
  return seen;
}

TEST(Findings, NameWhatBounds) {
  Observation seen = observation();
  EXPECT_NE(text_of(seen, "answer").find("read at 80 % of the memory's speed: memory bounds it"), std::string::npos);
  EXPECT_NE(text_of(seen, "prompt").find("at 60 % of the int8 limit: arithmetic bounds it"), std::string::npos);
  EXPECT_EQ(text_of(seen, "threads"), "");
  EXPECT_EQ(text_of(seen, "memory"), "");
  EXPECT_EQ(text_of(seen, "experts"), "");
  seen.speeds.decode = 5;
  seen.speeds.waiting_share = 0.4;
  EXPECT_NE(text_of(seen, "answer").find("wait for each other"), std::string::npos);
  EXPECT_NE(text_of(seen, "threads").find("40 %"), std::string::npos);
}

TEST(Findings, TellOfMemoryExpertsAndTheHost) {
  Observation seen = observation();
  seen.speeds.major_faults = 5000;
  seen.swapped_bytes = 1 << 30;
  seen.speeds.imbalance = 6;
  seen.model.moe.n_experts = 64;
  seen.int8_drift = 1.5;
  seen.stolen_share = 0.1;
  EXPECT_NE(text_of(seen, "memory").find("5000 pages"), std::string::npos);
  EXPECT_NE(text_of(seen, "experts").find("64 experts has 6.0 times"), std::string::npos);
  EXPECT_NE(text_of(seen, "clock").find("1.50"), std::string::npos);
  EXPECT_NE(text_of(seen, "host").find("10 %"), std::string::npos);
}

class ProfileTest : public testing::Test {
 protected:
  ProfileTest() {
    std::string name = (fs::temp_directory_path() / "moebox-profile-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    ::setenv("XDG_STATE_HOME", folder_.c_str(), 1);
    model_ = folder_ / "model";
    fs::copy(fs::path(MOEBOX_GOLDEN_DIR) / "transformers" / "models" / "llama_gqa", model_,
             fs::copy_options::recursive);
  }
  ~ProfileTest() override {
    ::unsetenv("XDG_STATE_HOME");
    fs::remove_all(folder_);
  }
  void replace(const std::string& old, const std::string& text) {
    const std::string file = profile_file(model_).string();
    std::string content = read_all(file);
    const auto at = content.find(old);
    ASSERT_NE(at, std::string::npos) << content;
    std::ofstream(file) << content.replace(at, old.size(), text);
  }

  fs::path folder_, model_;
  Console console_;
};

TEST_F(ProfileTest, HoldsBetweenTheDefaultAndTheFile) {
  Settings settings;
  EXPECT_FALSE(apply_profile(settings, model_, console_));
  write_profile(model_, machine_name(), {{"threads", "3"}, {"kv_type", "q8_0"}, {"server.batch_tokens", "256"}});
  ASSERT_TRUE(apply_profile(settings, model_, console_));
  EXPECT_EQ(settings.integer("threads"), 3);
  EXPECT_EQ(settings.text("kv_type"), "q8_0");
  EXPECT_EQ(settings.integer("server.batch_tokens"), 256);
  EXPECT_EQ(settings.value("threads").origin, Origin::profile);

  Settings with_file;
  with_file.set("threads", "5", Origin::file, "config.toml:1");
  ASSERT_TRUE(apply_profile(with_file, model_, console_));
  EXPECT_EQ(with_file.integer("threads"), 5);
  EXPECT_EQ(with_file.text("kv_type"), "q8_0");
}

TEST_F(ProfileTest, OfAnotherMachineOrOtherFilesIsLeftOut) {
  write_profile(model_, "another machine", {{"threads", "3"}});
  Settings settings;
  EXPECT_FALSE(apply_profile(settings, model_, console_));
  EXPECT_EQ(settings.integer("threads"), 0);
  write_profile(model_, machine_name(), {{"threads", "3"}});
  replace("fingerprint = \"", "fingerprint = \"0");
  EXPECT_FALSE(apply_profile(settings, model_, console_));
  EXPECT_EQ(settings.integer("threads"), 0);
}

TEST_F(ProfileTest, WithAnythingElseInItIsRefused) {
  write_profile(model_, machine_name(), {{"threads", "3"}});
  replace("threads = 3", "hf_endpoint = \"http://elsewhere\"");
  Settings settings;
  EXPECT_THROW(apply_profile(settings, model_, console_), Error);
  write_profile(model_, machine_name(), {{"threads", "3"}});
  replace("threads = 3", "threads = \"many\"");
  EXPECT_THROW(apply_profile(settings, model_, console_), Error);
  write_profile(model_, machine_name(), {{"threads", "3"}});
  replace("threads = 3", "threads = ");
  EXPECT_THROW(apply_profile(settings, model_, console_), Error);
  EXPECT_EQ(settings.integer("threads"), 0);
}

}  // namespace
}  // namespace moebox::cli
