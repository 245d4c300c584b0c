// Exact resume: a run that was killed anywhere and went on is the run that was not, bit for bit; and what is damaged,
// or other than it was, is told.
#include <random>
#include <sstream>

#include <sys/resource.h>

#include "base/error.h"
#include "data/digest.h"
#include "io/checkpoint.h"
#include "train/checkpoint_store.h"
#include "train/loader_batches.h"
#include "train/program_testing.h"
#include "train/run.h"
#include "train/run_log.h"

namespace moebox::train::test {
namespace {

class Resume : public TrainProgram {
 protected:
  std::string bytes_of(const fs::path& file) const {
    std::ifstream in(folder_ / file, std::ios::binary);
    EXPECT_TRUE(in) << file;
    return {std::istreambuf_iterator<char>(in), {}};
  }
  /// The log without what is a matter of time.
  std::vector<std::string> links() const {
    std::vector<std::string> links;
    walk_log(folder_ / "run/train.log.jsonl", INT64_MAX,
             [&](const nlohmann::ordered_json& content, const std::string& link) {
               EXPECT_EQ(links.empty() ? 0 : content.at("step").get<std::size_t>(), links.size());
               links.push_back(link);
             });
    return links;
  }
  void forget_run() const { fs::remove_all(folder_ / "run"); }
  std::string every(int steps) const {
    return "[checkpoint]\nevery_steps = " + std::to_string(steps) + "\ndigest_every = 3\n";
  }
  CheckpointStore store() const { return CheckpointStore(folder_ / "run/checkpoints"); }
  void damage(const fs::path& file) const {
    std::fstream out(folder_ / file, std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(-5, std::ios::end);
    out.put('?');
    ASSERT_TRUE(out);
  }
};

TEST_F(Resume, KilledAtAnyMomentTheRunIsTheSame) {
  const std::string file = recipe(100, every(7)).string();
  const auto start_time = std::chrono::steady_clock::now();
  ASSERT_EQ(run({file}), 0) << said();
  const auto whole =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start_time);
  const std::string weights = bytes_of("run/model/model.safetensors");
  const std::vector<std::string> expected = links();
  ASSERT_EQ(expected.size(), 101U);
  forget_run();

  std::mt19937 random(20261123);
  std::vector<std::string> arguments = {file};
  int n_killed = 0;
  for (int i = 0; i < 20; ++i) {
    const pid_t process = start(arguments);
    ::usleep(static_cast<useconds_t>(random() % static_cast<unsigned>(whole.count())));
    ::kill(process, SIGKILL);
    n_killed += exit_code(process) == -SIGKILL ? 1 : 0;
    if (fs::exists(folder_ / "run/model")) forget_run();  // it was done: from the beginning
    arguments = {file, "--resume"};
  }
  EXPECT_GT(n_killed, 5);
  ASSERT_EQ(run(arguments), 0) << said();
  EXPECT_TRUE(bytes_of("run/model/model.safetensors") == weights);
  EXPECT_EQ(links(), expected);
}

TEST_F(Resume, CtrlCThenOn) {
  const std::string file = recipe(400).string();
  ASSERT_EQ(run({file}), 0) << said();
  const std::string weights = bytes_of("run/model/model.safetensors");
  const std::vector<std::string> expected = links();
  forget_run();
  fs::remove(folder_ / "said");  // what the first run said
  const pid_t process = start({file});
  for (int i = 0; i < 60'000 && said().find("step 3/") == std::string::npos; ++i) ::usleep(1000);
  ::kill(process, SIGINT);
  ASSERT_EQ(exit_code(process), 130) << said();
  ASSERT_EQ(store().steps().size(), 1U);
  ASSERT_EQ(run({file, "--resume"}), 0) << said();
  expect_said("goes on behind step " + std::to_string(store().steps().front()));
  EXPECT_TRUE(bytes_of("run/model/model.safetensors") == weights);
  EXPECT_EQ(links(), expected);
}

TEST_F(Resume, TakesTheCheckpointBeforeADamagedOne) {
  const std::string file = recipe(10, every(4)).string();
  ASSERT_EQ(run({file}), 0) << said();
  const std::string weights = bytes_of("run/model/model.safetensors");
  ASSERT_EQ(store().steps(), (std::vector<std::int64_t>{4, 8}));
  damage("run/checkpoints/step-00000008/state-00001.safetensors");
  ASSERT_EQ(run({file, "--resume"}), 0) << said();
  expect_said("the checkpoint of step 8 is left out");
  expect_said("state-00001.safetensors: the file is not what its checksum says");
  expect_said("goes on behind step 4");
  EXPECT_TRUE(bytes_of("run/model/model.safetensors") == weights);
  EXPECT_EQ(links().size(), 11U);
  damage("run/checkpoints/step-00000008/checkpoint.json");
  fs::remove(folder_ / "run/checkpoints/step-00000004/checkpoint.json");
  ASSERT_EQ(run({file, "--resume"}), 4) << said();
  expect_said("none of the run's checkpoints can be gone on from; step 8: ");
  fs::remove_all(folder_ / "run/checkpoints");
  ASSERT_EQ(run({file, "--resume"}), 3) << said();
  expect_said("no checkpoint to go on from");
}

/// The steps of the events in a file, in order; 0: an event of none.
std::vector<int> event_steps(const std::string& bytes) {
  std::vector<int> steps;
  for (std::size_t at = 0; at + 12 < bytes.size();) {
    std::uint64_t size = 0;
    std::memcpy(&size, bytes.data() + at, sizeof(size));
    const char* event = bytes.data() + at + 12;  // its time takes nine bytes
    steps.push_back(event[9] == 0x10 ? event[10] : 0);
    at += 16 + size;
  }
  return steps;
}

TEST_F(Resume, EventsGoOnWithTheRun) {
  const std::string file = recipe(10, "tensorboard = true\n" + every(4)).string();
  ASSERT_EQ(run({file}), 0) << said();
  ASSERT_EQ(run({file, "--resume"}), 0) << said();
  expect_said("goes on behind step 8");
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder_ / "run"))
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) files.push_back(entry.path());
  std::ranges::sort(files);
  ASSERT_EQ(files.size(), 2U);
  // The format's version; the session's first step; the steps.
  EXPECT_EQ(event_steps(bytes_of(files[0])), (std::vector<int>{0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(event_steps(bytes_of(files[1])), (std::vector<int>{0, 9, 9, 10}));
  // The log has the memory, and its chain does not: it was checked when the run went on.
  report::read_log(
      folder_ / "run/train.log.jsonl", [](const auto&) {},
      [](const report::LoggedStep& step) {
        EXPECT_GT(step.resident_bytes, 1 << 20);
        EXPECT_GE(step.peak_bytes, step.resident_bytes);
      });
}

TEST_F(Resume, TwoThreadsGoOnExactly) {
  threads_ = 2;
  const std::string file = recipe(40, every(7)).string();
  ASSERT_EQ(run({file}), 0) << said();
  const std::string weights = bytes_of("run/model/model.safetensors");
  const std::vector<std::string> expected = links();
  forget_run();
  const pid_t process = start({file});
  for (int i = 0; i < 60'000 && store().steps().empty(); ++i) ::usleep(500);
  ::kill(process, SIGKILL);
  ASSERT_EQ(exit_code(process), -SIGKILL) << said();
  ASSERT_EQ(run({file, "--resume"}), 0) << said();
  expect_said("goes on behind step ");
  EXPECT_TRUE(bytes_of("run/model/model.safetensors") == weights);
  EXPECT_EQ(links(), expected);
}

TEST_F(Resume, AFullDiskStopsNoRunAndLosesNoCheckpoint) {
  const std::string file = recipe(10, every(4)).string();
  ASSERT_EQ(run({file}), 0) << said();
  const std::string weights = bytes_of("run/model/model.safetensors");
  fs::remove_all(folder_ / "run/model");
  fs::remove_all(store().place(8));
  file_bytes_ = 100'000;  // the log fits, a checkpoint does not
  ASSERT_EQ(run({file, "--resume"}), 8) << said();
  expect_said("goes on behind step 4");
  expect_said("the checkpoint of step 8 could not be written");
  expect_said("all steps are done, and the model could not be written");
  EXPECT_EQ(store().steps(), std::vector<std::int64_t>{4});
  EXPECT_FALSE(fs::exists(folder_ / "run/model.part"));
  file_bytes_ = 2000;  // not even the log
  ASSERT_EQ(run({file, "--resume"}), 8) << said();
  expect_said("train.log.jsonl");
  file_bytes_ = 0;
  ASSERT_EQ(run({file, "--resume"}), 0) << said();
  expect_said("goes on behind step 4");
  EXPECT_TRUE(bytes_of("run/model/model.safetensors") == weights);
}

TEST_F(Resume, OneProcessAtATime) {
  const std::string file = recipe(100'000, every(10)).string();
  const pid_t process = start({file});
  for (int i = 0; i < 60'000 && store().steps().empty(); ++i) ::usleep(1000);
  const std::vector<std::string> before = links();
  EXPECT_EQ(run({file, "--resume"}), 7) << said();
  expect_said("another process trains in this folder");
  ::kill(process, SIGINT);
  EXPECT_EQ(exit_code(process), 130);
  const std::vector<std::string> after = links();
  ASSERT_GE(after.size(), before.size());
  EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin())) << "the log is the first one's alone";
  EXPECT_FALSE(fs::exists(folder_ / "run/lock"));
}

TEST_F(Resume, WhatIsDamagedIsNotOverwritten) {
  const std::string file = recipe(10, every(4)).string();
  ASSERT_EQ(run({file}), 0) << said();
  fs::remove_all(folder_ / "run/model");
  const std::string right = bytes_of("run/train.log.jsonl");
  // Two lines change places: no checkpoint behind them belongs to this log.
  std::vector<std::string> lines;
  std::istringstream text(right);
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  std::swap(lines[2], lines[3]);
  std::string swapped;
  for (const std::string& line : lines) swapped += line + "\n";
  for (const std::string& wrong : {swapped, right.substr(0, right.size() / 4), std::string()}) {
    std::ofstream(folder_ / "run/train.log.jsonl") << wrong;
    ASSERT_EQ(run({file, "--resume"}), 4) << said();
    expect_said("none of the run's checkpoints can be gone on from");
    expect_said("train.log.jsonl");
    EXPECT_EQ(bytes_of("run/train.log.jsonl"), wrong);
    EXPECT_EQ(store().steps(), (std::vector<std::int64_t>{4, 8}));
  }
  // A log that is cut behind the last checkpoint is gone on with; half a checkpoint goes away.
  fs::create_directories(folder_ / "run/checkpoints/step-00000009.part");
  std::ofstream(folder_ / "run/train.log.jsonl") << right.substr(0, right.size() - 20);
  ASSERT_EQ(run({file, "--resume"}), 0) << said();
  expect_said("goes on behind step 8");
  EXPECT_FALSE(fs::exists(folder_ / "run/checkpoints/step-00000009.part"));
  fs::remove_all(folder_ / "run/model");
  fs::remove(store().place(4) / "state-00001.safetensors");
  fs::remove_all(store().place(8));
  ASSERT_EQ(run({file, "--resume"}), 4) << said();
  expect_said("state-00001.safetensors: the file is missing");
}

TEST_F(Resume, RefusesAnotherModelOrTokenizer) {
  const fs::path tokenizer = folder_ / "tokenizer";
  fs::create_directories(tokenizer);
  const std::string right = R"({"model": {"type": "BPE", "vocab": {}, "merges": []}})";
  const auto write = [&](const char* name, const std::string& text) { std::ofstream(tokenizer / name) << text; };
  write("tokenizer.json", right);
  const Recipe good = [&] {
    Recipe read = read_recipe(recipe(6, every(3)));
    read.model.tokenizer = tokenizer;
    return read;
  }();
  // Its data are of no tokenizer that is a file, so what opens them is not told of this one.
  Recipe data = good;
  data.model.tokenizer.clear();
  {
    TrainingRun first(good, open_batches(data));
    first.begin();
    for (int i = 0; i < 4; ++i) first.step();
  }
  const auto resumed = [&] {
    TrainingRun again(good, open_batches(data), RunMode::resumed);
    again.begin();
  };
  const auto expect_refused = [&](const std::string& file, const std::string& what) {
    try {
      resumed();
      ADD_FAILURE() << "it went on in spite of " << file;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      EXPECT_EQ(error.where(), (folder_ / file).string());
      EXPECT_NE(error.message().find(what), std::string::npos) << error.message();
    }
  };
  write("tokenizer.json", right + " ");
  expect_refused("tokenizer/tokenizer.json", "not the one");
  write("tokenizer.json", right);
  write("merges.txt", "a b");
  expect_refused("tokenizer/merges.txt", "without this file");
  fs::remove(tokenizer / "merges.txt");
  const std::string config = bytes_of("config.json");
  nlohmann::json changed = nlohmann::json::parse(config);
  changed["routed_scaling_factor"] = 1.5;
  std::ofstream(folder_ / "config.json") << changed.dump();
  expect_refused("config.json", "not the one");
  std::ofstream(folder_ / "config.json") << config;
  EXPECT_NO_THROW(resumed());
}

TEST_F(Resume, RefusesOtherData) {
  const std::string file = recipe(6, every(3)).string();
  ASSERT_EQ(run({file}), 0) << said();
  fs::remove_all(folder_ / "shards");
  fs::create_directories(folder_ / "shards");
  moebox::test::write_dataset(folder_ / "shards", {{"text", moebox::test::documents_of({40, 25, 60}, 96)}});
  ASSERT_EQ(run({file, "--resume"}), 2) << said();
  expect_said((folder_ / "shards").string() + ": ");
  expect_said("the data are not those that the run was begun with");
  EXPECT_EQ(store().steps(), (std::vector<std::int64_t>{3, 6}));
}

TEST_F(Resume, VerifyLooksAtTheModel) {
  ASSERT_EQ(run({recipe(6, every(3)).string()}), 0) << said();
  const std::string folder = (folder_ / "run").string();
  ASSERT_EQ(run({folder}, "verify"), 0) << said();
  expect_said("model: the weights are those of the last step");
  damage("run/model/model.safetensors");
  ASSERT_EQ(run({folder}, "verify"), 4) << said();
  expect_said("run/model: the weights are not those of the last step");
  forget_run();
  recipe(6);
  const std::string text = bytes_of("recipe.toml");
  std::ofstream(folder_ / "recipe.toml") << text.substr(0, text.find("[output]"))
                                         << "[output]\nfolder = \"run\"\ntype = \"BF16\"\n";
  ASSERT_EQ(run({(folder_ / "recipe.toml").string()}), 0) << said();
  ASSERT_EQ(run({folder}, "verify"), 0) << said();
  expect_said("model: the weights are those of the last step, rounded to BF16");
  ASSERT_EQ(run({folder, "--step", "2"}, "verify"), 0) << said();
  expect_said("compared where the last step is done again");
  damage("run/model/model.safetensors");
  ASSERT_EQ(run({folder}, "verify"), 4) << said();
  expect_said("the weights are not those of the last step, rounded");
  fs::remove_all(folder_ / "run/model");
  ASSERT_EQ(run({folder}, "verify"), 0) << said();
  expect_said("model: there is none yet");
}

TEST_F(Resume, RefusesAnotherRecipe) {
  ASSERT_EQ(run({recipe(6, every(3)).string()}), 0) << said();
  ASSERT_EQ(run({recipe(9, every(2)).string(), "--resume"}), 2) << said();
  expect_said("schedule.steps is 9, was 6");
  EXPECT_EQ(said().find("every_steps"), std::string::npos) << "it changes nothing of what is learnt";
  ASSERT_EQ(run({recipe(6, every(2)).string(), "--resume"}), 0) << said();
}

TEST_F(Resume, VerifyDoesStepsAgain) {
  ASSERT_EQ(run({recipe(12, every(5)).string()}), 0) << said();
  const std::string folder = (folder_ / "run").string();
  ASSERT_EQ(run({folder}, "verify"), 0) << said();
  expect_said("log: 12 steps, every link of the chain is right; the last one is " + links().back());
  expect_said("checkpoint of step 10: every checksum is right");
  expect_said("steps 11 to 12 were done again from the checkpoint of step 10");
  ASSERT_EQ(run({folder, "--step", "8"}, "verify"), 0) << said();
  expect_said("steps 6 to 8 were done again from the checkpoint of step 5");
  expect_said("step 8 has no digest of the weights");
  ASSERT_EQ(run({folder, "--all"}, "verify"), 0) << said();
  expect_said("steps 1 to 12 were done again from the beginning");
  EXPECT_EQ(run({folder, "--step", "13"}, "verify"), 2);
  expect_said("expected 1 to 12");
  EXPECT_EQ(run({folder, "--step", "3", "--all"}, "verify"), 2);
  EXPECT_EQ(run({(folder_ / "nowhere").string()}, "verify"), 3);
  expect_said("there is no log");
  EXPECT_EQ(run({}, "verify"), 2);
}

TEST_F(Resume, VerifyFindsWhatWasChanged) {
  ASSERT_EQ(run({recipe(8, every(3)).string()}), 0) << said();
  const std::string folder = (folder_ / "run").string();
  const fs::path log = folder_ / "run/train.log.jsonl";
  const std::string right = bytes_of("run/train.log.jsonl");

  // A number of step 5, without the links behind it.
  std::vector<nlohmann::ordered_json> lines;
  std::istringstream text(right);
  for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::ordered_json::parse(line));
  lines[5]["loss"] = 1.5;
  const auto write = [&] {
    std::ofstream out(log);
    for (const auto& line : lines) out << line.dump() << '\n';
  };
  write();
  ASSERT_EQ(run({folder}, "verify"), 4) << said();
  expect_said("train.log.jsonl:6");

  // With new links behind it: the checkpoint of step 6 tells, and without it the step that is done again.
  std::string link = lines[4]["chain"];
  for (std::size_t i = 5; i < lines.size(); ++i) {
    link = next_link(link, report::content_of(lines[i]));
    lines[i]["chain"] = link;
  }
  write();
  ASSERT_EQ(run({folder}, "verify"), 4) << said();
  expect_said("the log's line of step 6 is not the checkpoint's");
  fs::remove_all(store().place(6));
  ASSERT_EQ(run({folder}, "verify"), 4) << said();
  expect_said("step 5");
  expect_said("loss: the log says 1.5, the step gave ");

  std::ofstream(log) << right.substr(0, right.size() - 20);
  ASSERT_EQ(run({folder}, "verify"), 4) << "the last line is cut: " << said();
  std::ofstream(log) << right;
  ASSERT_EQ(run({folder}, "verify"), 0) << said();
  damage("run/checkpoints/step-00000003/state-00001.safetensors");
  ASSERT_EQ(run({folder}, "verify"), 4) << said();
  expect_said("step-00000003/state-00001.safetensors");
}

TEST_F(Resume, LogsAndManifestsMayHoldAnything) {
  ASSERT_EQ(run({recipe(4, every(2)).string()}), 0) << said();
  const fs::path log = folder_ / "run/train.log.jsonl", manifest = store().place(4) / "checkpoint.json";
  std::mt19937 random(7);
  const auto mutated = [&](std::string text) {
    for (unsigned n = 1 + random() % 3; n > 0; --n) {
      const std::size_t at = random() % text.size();
      if (random() % 3 == 0)
        text.erase(at, random() % 40);
      else
        text[at] = "\x80\"{}[]:,0-9\nxe\\"[random() % 15];
      if (text.empty()) text = "x";
    }
    return text;
  };
  const std::string lines = bytes_of("run/train.log.jsonl"),
                    facts = bytes_of("run/checkpoints/step-00000004/checkpoint.json");
  for (int i = 0; i < 300; ++i) {
    std::ofstream(log) << mutated(lines);
    std::ofstream(manifest) << mutated(facts);
    // It is as it was, or an Error tells.
    try {
      walk_log(log, INT64_MAX);
    } catch (const Error&) {
    }
    try {
      store().check(4);
    } catch (const Error&) {
    }
  }
  // A digest that is right does not make it a manifest.
  const auto write_manifest = [&](nlohmann::ordered_json json) {
    json["blake2b"] = data::hex(data::Hasher().add(json.dump()).finish());
    std::ofstream(manifest) << json.dump();
  };
  for (const char* text :
       {"{}", R"({"moebox_checkpoint": "1"})", R"({"moebox_checkpoint": 1, "step": 4, "facts": 3, "files": {"a": 3}})",
        R"({"moebox_checkpoint": 1, "step": 4, "facts": {}, "files": {"../step-00000002/checkpoint.json": {}}})",
        R"({"moebox_checkpoint": 1, "step": 4, "facts": {}, "files": {"checkpoint.json": {}}})"}) {
    write_manifest(nlohmann::ordered_json::parse(text));
    EXPECT_THROW(store().check(4), Error) << text;
  }
  fs::remove_all(store().place(4));
  std::ofstream(log) << R"({"moebox_train": )" << std::string(1'000'000, '[') << std::string(1'000'000, ']') << "}\n";
  EXPECT_EQ(run({(folder_ / "run").string()}, "verify"), 4) << said();
  const nlohmann::ordered_json head = {{"moebox_train", 1}, {"threads", "many"}, {"config", 3}};
  const nlohmann::ordered_json step = {{"step", 1}, {"weights", 5}};
  nlohmann::ordered_json first = head, second = step;
  first["chain"] = next_link("", head);
  second["chain"] = next_link(first["chain"], step);
  std::ofstream(log) << first.dump() << '\n' << second.dump() << '\n';
  fs::remove_all(folder_ / "run/checkpoints");
  EXPECT_EQ(run({(folder_ / "run").string()}, "verify"), 4) << said();
}

TEST(CheckpointStoreTest, AFullDiskLosesNothingOlder) {
  const fs::path folder = fs::temp_directory_path() / ("moebox_checkpoints_" + std::to_string(::getpid()));
  const CheckpointStore store(folder);
  const Tensor values = normal({64, 64}, 1), other = normal({7}, 2);
  store.write({1, {{"a", 1}}, {{"x", values}, {"y", other}}}, 64);
  EXPECT_TRUE(fs::exists(store.place(1) / "state-00002.safetensors")) << "in several files";

  // A limit on a file's size stands for the disk's.
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  const auto ignored = ::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_THROW(store.write({2, {}, {{"x", values}, {"y", other}}}), Error);
  EXPECT_THROW(store.write({1, {}, {{"x", values}, {"y", other}}}), Error) << "the same step";
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, ignored);

  EXPECT_EQ(store.steps(), std::vector<std::int64_t>{1});
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 1) << "nothing half is left";
  const Tensor x = at::zeros({64, 64}), y = at::zeros({7});
  EXPECT_EQ(store.read(1, {{"y", y}, {"x", x}}).at("a"), 1);
  EXPECT_TRUE(same_bits(x, values) && same_bits(y, other));
  EXPECT_NO_THROW(store.read(1, {{"x", x}})) << "a rank reads what is its own";
  EXPECT_THROW(store.read(1, {{"x", x}, {"z", y}}), Error);
  EXPECT_THROW(store.read(1, {{"x", x}, {"y", at::zeros({8})}}), Error);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace moebox::train::test
