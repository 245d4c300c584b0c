// Several processes that train one model: the losses are one process's, a run that was killed goes on exactly, and
// nobody waits for somebody who is gone.
#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "base/error.h"
#include "train/expert_placement.h"
#include "train/gradient_exchange.h"
#include "train/program_testing.h"
#include "train/run_log.h"
#include "train/shared_checkpoint.h"
#include "train/shares.h"
#include "train/world_place.h"

namespace moebox::train::test {
namespace {

using Json = nlohmann::ordered_json;

class Ranks : public TrainProgram {
 protected:
  std::vector<Json> log() const {
    std::vector<Json> lines;
    walk_log(folder_ / "run/train.log.jsonl", INT64_MAX,
             [&](const Json& content, const std::string&) { lines.push_back(content); });
    return lines;
  }
  std::string last_link() const { return walk_log(folder_ / "run/train.log.jsonl", INT64_MAX).link; }
  std::string weights() const {
    std::ifstream in(folder_ / "run/model/model.safetensors", std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void forget_run() const { fs::remove_all(folder_ / "run"); }
  static bool comes(const std::function<bool()>& is_there) {
    const auto last = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!is_there() && std::chrono::steady_clock::now() < last) ::usleep(2000);
    return is_there();
  }
  bool comes(const std::string& part) const {
    return comes([&] { return said().find(part) != std::string::npos; });
  }
  /// The launcher's children, by rank.
  static std::vector<pid_t> children_of(pid_t process) {
    std::vector<pid_t> children;
    const std::string id = std::to_string(process);
    std::ifstream in("/proc/" + id + "/task/" + id + "/children");
    for (pid_t child = 0; in >> child;) children.push_back(child);
    return children;
  }
};

constexpr const char* every_four = "[checkpoint]\nevery_steps = 4\ndigest_every = 3\n";

TEST_F(Ranks, HaveTheLossesOfOne) {
  for (const char* kind : {"adamw", "muon"}) {
    std::string file = recipe(10, every_four).string();
    {
      std::ifstream in(file);
      std::string text{std::istreambuf_iterator<char>(in), {}};
      text.insert(text.find("learning_rate"), std::string("kind = \"") + kind + "\"\n");
      std::ofstream(file) << "gradient_checkpointing = " << (kind[0] == 'm' ? "true\n" : "false\n") << text
                          << "[loss]\nbalance = 0.01\nz = 0.001\nbias_rate = 0.01\n";
    }
    forget_run();
    ASSERT_EQ(run({file}), 0) << said();
    const std::vector<Json> one = log();
    for (const char* devices : {"0,1", "0,1,2", "0,1,2,3"}) {
      forget_run();
      ASSERT_EQ(run({file, "--devices", devices}), 0) << said();
      const std::vector<Json> several = log();
      ASSERT_EQ(several.size(), one.size());
      for (std::size_t step = 1; step < one.size(); ++step) {
        for (const char* key : {"loss", "cross_entropy", "balance", "z", "gradient_norm"}) {
          const double expected = one[step].at(key);
          EXPECT_NEAR(several[step].at(key).get<double>(), expected, 1e-6 * std::max(1.0, std::abs(expected)))
              << kind << ", devices " << devices << ", step " << step << ", " << key;
        }
        EXPECT_EQ(several[step].at("rows"), one[step].at("rows"));
      }
    }
  }
}

/// What the recipe says already, and another value of it.
void replace_in(const fs::path& file, const std::string& from, const std::string& to) {
  std::ifstream in(file);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  ASSERT_NE(text.find(from), std::string::npos) << text;
  text.replace(text.find(from), from.size(), to);
  std::ofstream(file) << text;
}

TEST_F(Ranks, HoldExpertsTogether) {
  const std::string file =
      recipe(10, std::string(every_four) + "[loss]\nbalance = 0.01\nbias_rate = 0.01\n[parallel]\nexpert = 1\n")
          .string();
  ASSERT_EQ(run({file}), 0) << said();
  const std::vector<Json> one = log();
  const std::size_t model_bytes = weights().size();
  int expert = 1;
  for (const auto& [devices, n] : {std::pair("0,1", 2), {"0,1,2,3", 2}, {"0,1,2,3", 4}}) {
    replace_in(file, "expert = " + std::to_string(expert), "expert = " + std::to_string(n));
    expert = n;
    forget_run();
    ASSERT_EQ(run({file, "--devices", devices}), 0) << said();
    const std::vector<Json> several = log();
    ASSERT_EQ(several.size(), one.size());
    for (std::size_t step = 1; step < one.size(); ++step) {
      for (const char* key : {"loss", "balance", "gradient_norm"}) {
        const double expected = one[step].at(key);
        EXPECT_NEAR(several[step].at(key).get<double>(), expected, 1e-6 * std::max(1.0, std::abs(expected)))
            << devices << ", expert " << n << ", step " << step << ", " << key;
      }
      EXPECT_EQ(several[step].at("rows"), one[step].at("rows"));
    }
    EXPECT_EQ(weights().size(), model_bytes) << "the whole model is exported";
    EXPECT_NO_THROW(make_model(Checkpoint::open(folder_ / "run/model"), {}));
    ASSERT_EQ(run({(folder_ / "run").string(), "--devices", devices}, "verify"), 0) << said();
    expect_said("were done again");
  }
  replace_in(file, "expert = 4", "expert = 3");
  EXPECT_EQ(run({file, "--devices", "0,1,2,3"}), 2);
  expect_said("parallel.expert: expected a number that divides the 4 processes, found 3");
}

TEST_F(Ranks, ComputeLayersTogether) {
  const std::string file =
      recipe(10, std::string(every_four) + "[loss]\nbalance = 0.01\nbias_rate = 0.01\n[parallel]\ntensor = 1\n")
          .string();
  ASSERT_EQ(run({file}), 0) << said();
  const std::vector<Json> one = log();
  std::string mix = "tensor = 1\n";
  for (const auto& [devices, wanted] : {std::pair("0,1", "tensor = 2\n"),
                                        {"0,1,2,3", "tensor = 4\n"},
                                        {"0,1,2,3", "tensor = 2\nexpert = 2\nplace_every = 3\n"}}) {
    replace_in(file, mix, wanted);
    mix = wanted;
    forget_run();
    ASSERT_EQ(run({file, "--devices", devices}), 0) << said();
    expect_said("processes compute each layer of the same sequences together");
    const std::vector<Json> several = log();
    ASSERT_EQ(several.size(), one.size());
    for (std::size_t step = 1; step < one.size(); ++step) {
      for (const char* key : {"loss", "balance", "gradient_norm"}) {
        const double expected = one[step].at(key);
        EXPECT_NEAR(several[step].at(key).get<double>(), expected, 1e-6 * std::max(1.0, std::abs(expected)))
            << devices << ", " << wanted << ", step " << step << ", " << key;
      }
      EXPECT_EQ(several[step].at("load"), one[step].at("load"));
    }
    EXPECT_NO_THROW(make_model(Checkpoint::open(folder_ / "run/model"), {}));
    ASSERT_EQ(run({(folder_ / "run").string(), "--devices", devices}, "verify"), 0) << said();
    expect_said("were done again");
  }
  fs::remove_all(folder_ / "run/model");
  replace_in(file, mix, "tensor = 1\n");
  EXPECT_EQ(run({file, "--resume"}), 0) << "another mix reads its checkpoints: " << said();
  replace_in(file, "tensor = 1", "tensor = 3");
  forget_run();
  EXPECT_EQ(run({file, "--devices", "0,1,2"}), 2);
  expect_said("parallel.tensor: expected a number that divides the model's 4 attention heads, found 3");
}

/// The correction bias of every gate draws all tokens to experts 0 and 1, which one rank of two or four holds at first.
void make_experts_hot(const fs::path& safetensors) {
  std::fstream file(safetensors, std::ios::binary | std::ios::in | std::ios::out);
  std::uint64_t n = 0;
  file.read(reinterpret_cast<char*>(&n), sizeof(n));
  std::string text(n, ' ');
  file.read(text.data(), static_cast<std::streamsize>(n));
  const Json tensors = Json::parse(text);
  int n_changed = 0;
  for (const auto& [name, tensor] : tensors.items()) {
    if (name.find("e_score_correction_bias") == std::string::npos) continue;
    ASSERT_EQ(tensor.at("dtype"), "F32");
    const std::vector<float> hot = {0.5f, 0.5f};
    file.seekp(static_cast<std::streamoff>(sizeof(n) + n + tensor.at("data_offsets").at(0).get<std::uint64_t>()));
    file.write(reinterpret_cast<const char*>(hot.data()), sizeof(float) * 2);
    ++n_changed;
  }
  ASSERT_GT(n_changed, 0);
}

TEST_F(Ranks, PlaceExpertsByLoad) {
  ASSERT_EQ(run({recipe(1).string()}), 0) << said();
  fs::rename(folder_ / "run/model", folder_ / "hot");
  forget_run();
  make_experts_hot(folder_ / "hot/model.safetensors");
  for (const char* kind : {"adamw", "muon"}) {
    const std::string file =
        recipe(10, std::string(every_four) + "[loss]\nbias_rate = 0.001\n[parallel]\nexpert = 1\n").string();
    replace_in(file, "config = \"config.json\"", "checkpoint = \"hot\"");
    replace_in(file, "learning_rate", std::string("kind = \"") + kind + "\"\nlearning_rate");
    if (kind[0] == 'm') replace_in(file, "[output]\n", "[output]\ntype = \"BF16\"\n");
    forget_run();
    ASSERT_EQ(run({file}), 0) << said();
    const std::vector<Json> one = log();
    std::string placing = "expert = 1\n";
    for (const auto& [devices, n, fewer] :
         {std::tuple("0,1", 2, 0.85), std::tuple("0,1,2,3", 2, 0.85), std::tuple("0,1,2,3", 4, 0.7)}) {
      const std::string wanted = "expert = " + std::to_string(n) + "\nplace_every = 3\n";
      replace_in(file, placing, wanted);
      placing = wanted;
      forget_run();
      ASSERT_EQ(run({file, "--devices", devices}), 0) << said();
      expect_said("held by " + std::to_string(n) + " processes together, and placed among them by load every 3 steps");
      const std::vector<Json> several = log();
      ASSERT_EQ(several.size(), one.size());
      for (std::size_t step = 1; step < one.size(); ++step) {
        for (const char* key : {"loss", "gradient_norm"}) {
          const double expected = one[step].at(key);
          EXPECT_NEAR(several[step].at(key).get<double>(), expected, 1e-6 * std::max(1.0, std::abs(expected)))
              << kind << ", " << devices << ", expert " << n << ", step " << step << ", " << key;
        }
        EXPECT_EQ(several[step].at("load"), one[step].at("load"));
      }
      ASSERT_TRUE(several[3].contains("placed")) << several[3];
      const double before = several[3].at("busiest_rank"), after = several[4].at("busiest_rank");
      EXPECT_LT(after, fewer * before) << devices << ", expert " << n;
      EXPECT_NO_THROW(make_model(Checkpoint::open(folder_ / "run/model"), {}));
      ASSERT_EQ(run({(folder_ / "run").string(), "--devices", devices}, "verify"), 0) << said();
      expect_said("were done again");
      expect_said(kind[0] == 'm' ? "the weights are those of the last step, rounded to BF16"
                                 : "the weights are those of the last step, by their digest");
    }
  }
}

TEST_F(Ranks, PlaceExpertsAgainWhenTheyGoOn) {
  ASSERT_EQ(run({recipe(1).string()}), 0) << said();
  fs::rename(folder_ / "run/model", folder_ / "hot");
  forget_run();
  make_experts_hot(folder_ / "hot/model.safetensors");
  // Between two placements there is a checkpoint: what was counted so far is in it.
  const std::string file = recipe(26, std::string(every_four) + "[parallel]\nexpert = 2\nplace_every = 3\n").string();
  replace_in(file, "config = \"config.json\"", "checkpoint = \"hot\"");
  ASSERT_EQ(run({file, "--devices", "0,1"}), 0) << said();
  const std::string expected = weights(), link = last_link();
  forget_run();
  for (int i = 0; i < 2; ++i) {
    fs::remove(folder_ / "said");
    const pid_t launcher = start({file, "--devices", "0,1", "--resume"});
    ASSERT_TRUE(comes("step " + std::to_string(7 + 10 * i) + "/")) << said();
    const std::vector<pid_t> ranks = children_of(launcher);
    ASSERT_EQ(ranks.size(), 2U);
    ::kill(ranks[static_cast<std::size_t>(i % 2)], SIGKILL);
    EXPECT_NE(exit_code(launcher), 0) << said();
  }
  ASSERT_EQ(run({file, "--devices", "0,1", "--resume"}), 0) << said();
  EXPECT_TRUE(weights() == expected);
  EXPECT_EQ(last_link(), link);

  replace_in(file, "place_every = 3", "place_every = 0");
  replace_in(file, "expert = 2", "expert = 1");
  EXPECT_EQ(run({file, "--resume"}), 0) << "another mix reads it: " << said();
  replace_in(file, "place_every = 0", "place_every = 3");
  EXPECT_EQ(run({file, "--resume"}), 2);
  expect_said("every process holds all experts");
}

TEST_F(Ranks, GoOnInAnotherMix) {
  const std::string file = recipe(300, std::string(every_four) + "[parallel]\nexpert = 1\n").string();
  ASSERT_EQ(run({file}), 0) << said();
  const std::vector<Json> one = log();
  forget_run();
  fs::remove(folder_ / "said");
  replace_in(file, "expert = 1", "expert = 2");
  const pid_t launcher = start({file, "--devices", "0,1"});
  ASSERT_TRUE(comes([&] { return fs::exists(folder_ / "run/checkpoints/step-00000004"); })) << said();
  ::kill(launcher, SIGINT);
  ASSERT_EQ(exit_code(launcher), 130) << said();
  ASSERT_EQ(run({file, "--devices", "0,1,2,3", "--resume"}), 0) << said();
  expect_said("the run was begun by 2 processes and goes on with 4");
  const std::vector<Json> other = log();
  ASSERT_EQ(other.size(), one.size());
  for (std::size_t step = 1; step <= 40; ++step)
    EXPECT_NEAR(other[step].at("loss").get<double>(), one[step].at("loss").get<double>(), 1e-4) << step;
}

TEST_F(Ranks, KilledAtAnyMomentTheRunIsTheSame) {
  const std::string file = recipe(40, every_four).string();
  ASSERT_EQ(run({file, "--devices", "0,1"}), 0) << said();
  const std::string expected = weights(), link = last_link();
  ASSERT_EQ(run({"--devices=0,1", (folder_ / "run").string()}, "verify"), 0) << said();
  expect_said("were done again");
  EXPECT_EQ(run({(folder_ / "run").string()}, "verify"), 2) << "one process adds up in another order";
  forget_run();
  for (int i = 0; i < 3; ++i) {
    fs::remove(folder_ / "said");
    const pid_t launcher = start({file, "--devices", "0,1", "--resume"});
    ASSERT_TRUE(comes("step " + std::to_string(6 + 10 * i) + "/")) << said();
    const std::vector<pid_t> ranks = children_of(launcher);
    ASSERT_EQ(ranks.size(), 2U);
    ::kill(ranks[static_cast<std::size_t>(i % 2)], SIGKILL);
    EXPECT_NE(exit_code(launcher), 0) << said();
    EXPECT_TRUE(children_of(launcher).empty());
  }
  ASSERT_EQ(run({file, "--devices", "0,1", "--resume"}), 0) << said();
  EXPECT_TRUE(weights() == expected);
  EXPECT_EQ(last_link(), link);
}

/// Lets a process run a fifth of the time.
class Slowed {
 public:
  explicit Slowed(pid_t process)
      : thread_([this, process] {
          while (!done_) {
            ::kill(process, SIGSTOP);
            ::usleep(8000);
            ::kill(process, SIGCONT);
            ::usleep(2000);
          }
        }) {}
  ~Slowed() {
    done_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

TEST_F(Ranks, GiveASlowerOneLess) {
  const std::string file = recipe(60, "[parallel]\nbalance = true\n").string();
  std::ifstream in(file);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  text.replace(text.find("sequences = 4"), 13, "sequences = 16");
  std::ofstream(file) << text;
  ASSERT_EQ(run({file}), 0) << said();
  const std::vector<Json> one = log();
  forget_run();
  fs::remove(folder_ / "said");
  const pid_t launcher = start({file, "--devices", "0,1"});
  ASSERT_TRUE(comes("step 1/")) << said();
  {
    const Slowed slowed(children_of(launcher).at(1));
    ASSERT_EQ(exit_code(launcher), 0) << said();
  }
  const std::vector<Json> two = log();
  ASSERT_EQ(two.size(), one.size());
  EXPECT_EQ(two[1].at("shares"), (Json{8, 8}));
  const auto shares = two.back().at("shares").get<std::vector<int>>();
  EXPECT_GT(shares[0], shares[1] + 3) << two.back().at("shares");
  EXPECT_EQ(shares[0] + shares[1], 16);
  for (std::size_t step = 1; step <= 20; ++step)
    EXPECT_NEAR(two[step].at("loss").get<double>(), one[step].at("loss").get<double>(), 1e-5) << step;
}

TEST_F(Ranks, StopWhenOneIsGone) {
  const std::string file = recipe(100'000, every_four).string();
  const pid_t launcher = start({file, "--devices", "0,1,2"});
  ASSERT_TRUE(comes([&] { return fs::exists(folder_ / "run/checkpoints/step-00000004"); })) << said();
  const auto killed = std::chrono::steady_clock::now();
  ::kill(children_of(launcher).at(1), SIGKILL);
  EXPECT_EQ(exit_code(launcher), 128 + SIGKILL) << said();
  expect_said("rank 1 of 3 was ended by signal 9");
  expect_said("another process of the run is gone");
  // Long before anybody's patience ends: they were told by their connections.
  EXPECT_LT(std::chrono::steady_clock::now() - killed, std::chrono::seconds(60));

  // What it left is read by another number of them.
  fs::remove(folder_ / "said");
  const pid_t two = start({file, "--devices", "0,1", "--resume"});
  ASSERT_TRUE(comes("goes on behind step ")) << said();
  ASSERT_TRUE(comes("the run was begun by 3 processes and goes on with 2: bits may differ")) << said();
  ASSERT_TRUE(comes("tokens/s")) << said();
  ::kill(two, SIGINT);
  EXPECT_EQ(exit_code(two), 130) << said();
  expect_said("to go on exactly");
}

TEST_F(Ranks, RefuseByName) {
  const std::string file = recipe(5).string();
  EXPECT_EQ(run({file, "--devices", "0,0"}), 2);
  expect_said("--devices: expected different numbers like 0,1, found '0,0'");
  EXPECT_EQ(run({file, "--devices", "0,1,2,3,4"}), 2) << "a step has four sequences";
  expect_said("data.sequences: expected a sequence for each of the 5 processes, found 4");
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

TEST(WorldPlace, IsReadFromTheEnvironment) {
  std::map<std::string, std::string> variables;
  const auto read = [&] {
    return read_place([&](const char* name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      return found == variables.end() ? std::nullopt : std::optional(found->second);
    });
  };
  EXPECT_FALSE(read());
  variables = {{"RANK", "2"}, {"WORLD_SIZE", "4"}, {"MASTER_ADDR", "10.0.0.1"}, {"MASTER_PORT", "1234"}};
  EXPECT_EQ(read()->rank, 2);
  EXPECT_EQ(read()->size, 4);
  EXPECT_EQ(read()->port, 1234);
  EXPECT_FALSE(read()->has_store);
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  EXPECT_TRUE(read()->has_store);
  variables["RANK"] = "4";
  EXPECT_THROW(read(), Error);
  variables.erase("RANK");
  EXPECT_THROW(read(), Error);
  variables = {{"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "2"}};
  EXPECT_FALSE(read()) << "a batch script has these, too";
  variables["MASTER_ADDR"] = "node1";
  EXPECT_EQ(read()->rank, 1);
}

TEST(Shares, AreEvenOrBySpeed) {
  using Numbers = std::vector<std::int64_t>;
  EXPECT_EQ(even_shares(7, 3), (Numbers{3, 2, 2}));
  EXPECT_EQ(even_shares(3, 3), (Numbers{1, 1, 1}));
  EXPECT_EQ(shares_by_speed(12, {1, 2, 3}), (Numbers{2, 4, 6}));
  EXPECT_EQ(shares_by_speed(8, {1, 1000}), (Numbers{1, 7}));
}

TEST(Shares, FollowTheRanks) {
  ShareBalance balance(even_shares(8, 2));
  for (int step = 0; step < 7; ++step) balance.add({1.0, 3.0});
  EXPECT_EQ(balance.shares(), (std::vector<std::int64_t>{4, 4})) << "not at once";
  balance.add({50.0, 3.0});
  EXPECT_EQ(balance.shares(), (std::vector<std::int64_t>{6, 2})) << "one slow step is none";
  for (int step = 0; step < 8; ++step) balance.add({1.5, 1.49});
  EXPECT_EQ(balance.shares(), (std::vector<std::int64_t>{6, 2}));
}

TEST(Places, FollowTheLoad) {
  using Numbers = std::vector<std::int64_t>;
  const Numbers in_order = {0, 1, 2, 3, 4, 5, 6, 7}, hot = {90, 80, 5, 5, 10, 10, 0, 0};
  EXPECT_DOUBLE_EQ(busiest_rank(in_order, hot, 4), 3.4);
  const Numbers placed = place_by_load(in_order, hot, 4);
  EXPECT_DOUBLE_EQ(busiest_rank(placed, hot, 4), 1.8) << "the hottest expert alone has so many";
  Numbers sorted = placed;
  std::ranges::sort(sorted);
  EXPECT_EQ(sorted, in_order) << "every place has one expert";
  EXPECT_EQ(place_by_load(placed, hot, 4), placed);
  EXPECT_EQ(place_by_load({0, 1, 2, 3}, {50, 51, 50, 50}, 2), (Numbers{0, 1, 2, 3})) << "1 % is not worth it";
  EXPECT_EQ(place_by_load({0, 1, 2, 3}, {0, 0, 0, 0}, 2), (Numbers{0, 1, 2, 3}));
  EXPECT_DOUBLE_EQ(busiest_rank({0, 1}, {0, 0}, 2), 1.0);
}

TEST(Owners, HaveAboutAsMuch) {
  const std::vector<std::int64_t> sizes = {100, 5, 60, 50, 5, 40, 40};
  const std::vector<int> owners = choose_owners(sizes, 3);
  std::vector<std::int64_t> load(3);
  for (std::size_t i = 0; i < sizes.size(); ++i) load.at(static_cast<std::size_t>(owners[i])) += sizes[i];
  EXPECT_EQ(*std::ranges::max_element(load), 100);
}

/// Ranks that are threads, and only leave notes.
class Notes : public World {
 public:
  struct Board {
    std::mutex mutex;
    std::condition_variable changed;
    std::map<std::string, std::string> notes;
  };
  Notes(Board& board, int rank) : board_(board), rank_(rank) {}
  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return 2; }
  void add_up(const Tensor&) override { FAIL(); }
  Tensor exchange_rows(const Tensor& x, const std::vector<std::int64_t>&, const std::vector<std::int64_t>&) override {
    return x;
  }
  std::shared_ptr<World> part(const std::vector<int>&) override { return nullptr; }
  std::unique_ptr<Transfer> start_adding_up(const Tensor&, int) override { return nullptr; }
  std::unique_ptr<Transfer> start_spreading(const Tensor&, int) override { return nullptr; }
  void leave_note(const std::string& name, const std::string& text) override {
    const std::lock_guard lock(board_.mutex);
    board_.notes[name] = text;
    board_.changed.notify_all();
  }
  std::string read_note(const std::string& name) override {
    std::unique_lock lock(board_.mutex);
    board_.changed.wait(lock, [&] { return board_.notes.contains(name); });
    return board_.notes.at(name);
  }

 private:
  Board& board_;
  const int rank_;
};

TEST(SharedCheckpoint, IsThereWholeOrNotAtAll) {
  const fs::path folder = fs::temp_directory_path() / ("moebox_shared_" + std::to_string(::getpid()));
  const CheckpointStore store(folder);
  Notes::Board board;
  const auto write = [&](int rank, const Tensor& values, std::string& problem, const std::string& occasion) {
    Notes world(board, rank);
    Snapshot snapshot;
    snapshot.step = occasion == "good" ? 1 : 2;
    snapshot.facts = {{"from", rank}, {"optimizer_steps", {{"w" + std::to_string(rank), 7}}}};
    snapshot.tensors = {{"w" + std::to_string(rank), values}};
    try {
      write_together(store, snapshot, world, occasion);
    } catch (const Error& error) {
      problem = error.what();
    }
  };
  const auto both = [&](const Tensor& second, const std::string& occasion) {
    std::vector<std::string> problems(2);
    std::thread other([&] { write(1, second, problems[1], occasion); });
    write(0, at::ones({2, 3}), problems[0], occasion);
    other.join();
    return problems;
  };
  EXPECT_EQ(both(at::full({4}, 5.0), "good"), std::vector<std::string>(2));
  std::vector<NamedTensor> read = {{"w0", at::zeros({2, 3})}, {"w1", at::zeros({4})}};
  const nlohmann::json facts = store.read(1, read);
  EXPECT_EQ(facts.at("from"), 0);
  EXPECT_EQ(facts.at("optimizer_steps"), (nlohmann::json{{"w0", 7}, {"w1", 7}}));
  EXPECT_TRUE(same_bits(read[0].values, at::ones({2, 3})));
  EXPECT_TRUE(same_bits(read[1].values, at::full({4}, 5.0)));

  for (const std::string& problem : both(Tensor(), "bad"))
    EXPECT_NE(problem.find("rank 1: "), std::string::npos) << problem;
  EXPECT_EQ(store.steps(), std::vector<std::int64_t>{1});
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 1) << "no half of it stays";
  fs::remove_all(folder);
}

}  // namespace
}  // namespace moebox::train::test
