// One way to run a model, and how fast it is: what `moebox optimize` compares.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/profile.h"
#include "kernels/limits.h"
#include "models/model.h"

namespace moebox::cli {

/// What is measured, and what counts.
struct Workload {
  int prefill = 512, decode = 64;  // tokens of the prompt; of the single answer
  int after = 1;                   // tokens before that answer
  int streams = 8, stream_tokens = 32;
  int counted_answer = 128;  // tokens of the answer that counts; 0: the prompt alone does
  bool serving = false;      // many answers at once count; otherwise one
};

/// One measurement after a fresh start of the model.
struct Speeds {
  double load_seconds = 0;
  double prefill = 0, decode = 0, batch = 0;  // tokens a second; batch: of all streams together
  double waiting_share = 0;                   // of the team's time: its first member waited for others, or the system
  double major_faults = 0;                    // pages that were read from a disk while it ran
  double imbalance = 0;                       // busiest expert against the mean, mean over layers; 0: a dense model
  double read_bytes_per_token = 0;            // of the packed weights
  MachineLimits limits;                       // of the same moment
};

struct Trial {
  std::string name;                  // "2 threads"
  ProfileSettings settings;          // beside those that hold anyway
  std::filesystem::path model = {};  // other files than the model's own; empty: those
  double perplexity = 0;             // 0: not measured
  std::vector<Speeds> rounds = {};

  /// Seconds of a typical piece of work: a prompt of 512 tokens and an answer of 128, or eight of them at once.
  double seconds(const Workload& workload, std::size_t round) const;
  double median_seconds(const Workload& workload) const;
  /// Each figure's median.
  Speeds median() const;
};

/// `settings` with those of a trial or profile over everything else.
Settings with(Settings settings, const ProfileSettings& over);

/// Adds `n_rounds` measurements to each trial, in turns: machines drift.
void measure_in_turns(const Context& context, const std::filesystem::path& model, const Workload& workload,
                      int n_rounds, std::vector<Trial>& trials);

/// The fastest one, if it beats the first by 3 % in the median and in more than half of the rounds; otherwise the
/// first.
std::size_t best_trial(const std::vector<Trial>& trials, const Workload& workload);

}  // namespace moebox::cli
