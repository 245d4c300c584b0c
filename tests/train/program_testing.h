// The program moebox-train on a small data set, in a folder that goes with the test.
#pragma once

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/data_testing.h"
#include "train/train_testing.h"

namespace moebox::train::test {

namespace fs = std::filesystem;

class TrainProgram : public ::testing::Test {
 protected:
  TrainProgram() : folder_(fs::temp_directory_path() / ("moebox_train_program_" + std::to_string(::getpid()))) {
    fs::create_directories(folder_ / "shards");
    std::vector<moebox::test::TestDocument> documents = moebox::test::documents_of({40, 25, 60, 33, 50, 41, 28}, 96);
    documents[1].mask.assign(documents[1].ids.size(), 0);  // nothing of it is to be learnt
    moebox::test::write_dataset(folder_ / "shards", {{"text", std::move(documents)}});
    // The helper's vocabulary is of 1,000 tokens.
    nlohmann::json config = read_json(golden_dir() / "train/models/deepseek_v3/config.json");
    config["vocab_size"] = 1000;
    std::ofstream(folder_ / "config.json") << config.dump();
  }
  ~TrainProgram() override {
    for (const pid_t process : running_) {  // of a test that has failed
      ::kill(process, SIGKILL);
      ::waitpid(process, nullptr, 0);
    }
    fs::remove_all(folder_);
  }

  fs::path recipe(int steps, const std::string& more = "") const {
    std::ofstream(folder_ / "recipe.toml") << "threads = " << threads_ << "\n"
                                           << "[model]\nconfig = \"config.json\"\n"
                                           << "[data]\nfolder = \"shards\"\nsequence_tokens = 32\nsequences = 4\n"
                                           << "[optimizer]\nlearning_rate = 3e-3\n"
                                           << "[schedule]\nsteps = " << steps << "\n"
                                           << "[output]\nfolder = \"run\"\nlog_every = 1\n"
                                           << more;
    return folder_ / "recipe.toml";
  }

  /// The program's process; what it says goes to `said`.
  pid_t start(std::vector<std::string> arguments, const char* verb = "train") const {
    arguments.insert(arguments.begin(), {MOEBOX_TRAIN_PROGRAM, verb});
    const pid_t child = ::fork();
    if (child != 0) {
      running_.insert(child);
      return child;
    }
    if (file_bytes_ > 0) {
      const rlimit limit{.rlim_cur = file_bytes_, .rlim_max = file_bytes_};
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    const int said = ::open((folder_ / "said").c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    ::dup2(said, STDOUT_FILENO);
    ::dup2(said, STDERR_FILENO);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  int exit_code(pid_t process) const {
    int status = 0;
    ::waitpid(process, &status, 0);
    running_.erase(process);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  int run(const std::vector<std::string>& arguments, const char* verb = "train") const {
    return exit_code(start(arguments, verb));
  }
  std::string said() const {
    std::ifstream in(folder_ / "said");
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void expect_said(const std::string& part) const {
    EXPECT_NE(said().find(part), std::string::npos) << part << " is not in\n" << said();
  }

  const fs::path folder_;
  mutable std::set<pid_t> running_;
  int threads_ = 1;
  std::uint64_t file_bytes_ = 0;  // limit on the size of the program's files, which stands for a full disk; 0: none
};

}  // namespace moebox::train::test
