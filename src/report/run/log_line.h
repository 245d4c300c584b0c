// The lines of a run's log, train.log.jsonl: their form, and the chain that binds each to all before it. Who writes
// them is src/train, which knows LibTorch; who reads them needs none.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace moebox::report {

/// In the run's folder.
inline constexpr const char* log_name = "train.log.jsonl";
inline constexpr const char* recipe_name = "recipe.json";

/// A line as JSON; null where it is none, or nested deeper than any line of a log (who prints JSON recurses).
nlohmann::ordered_json parse_line(std::string_view text);
/// What the chain binds: the line without its link, its times and its memory, which no two runs have in common.
nlohmann::ordered_json content_of(nlohmann::ordered_json line);
/// BLAKE2b of the link before it ("" for the first line) and of the line's content, in hexadecimal digits.
std::string next_link(const std::string& link, const nlohmann::ordered_json& content);

/// Of one layer with experts, in one step.
struct LayerTokens {
  std::int64_t layer = 0;
  std::vector<std::int64_t> tokens;  // (n_experts): tokens that each has got
};

/// What a line says of a step. A number that the line leaves out, or has as null, is NaN.
struct LoggedStep {
  std::int64_t step = 0, n_tokens = 0, n_targets = 0;
  double loss = 0, cross_entropy = 0, balance = 0, z = 0, gradient_norm = 0, learning_rate = 0;
  std::vector<double> further = {};  // losses of the layers that predict further tokens
  bool skipped = false;              // nothing was changed
  std::int64_t left_out = 0;         // batches before this step's
  std::vector<LayerTokens> loads = {};
  double seconds = 0;
  std::int64_t resident_bytes = 0, peak_bytes = 0;  // of the process behind the step; 0: not known
};

/// How evenly a step's tokens were spread.
struct LoadBalance {
  std::int64_t n_experts = 0, n_idle = 0;
  double busiest = 0;  // of all layers: an expert's tokens over its layer's mean
};
/// Of layers that had tokens.
LoadBalance balance_of(const std::vector<LayerTokens>& loads);

/// Throws Error(invalid_file) that names `where` and the key.
LoggedStep read_step(const nlohmann::ordered_json& line, const std::string& where);

struct LogEnd {
  std::int64_t n_steps = 0;
  std::string link;                   // the last line's, as it says
  std::int64_t first_wrong_link = 0;  // number of the first line whose link is not the chain's; 0: all are
  std::int64_t cut_bytes = 0;         // of a last line that is not whole: the run is writing, or was killed
};

/// Reads a log to its end, of any length, in little memory. Throws Error(not_found), Error(io), and Error(invalid_file)
/// that names the line; a link that is wrong is told in the result, for moebox verify is who judges.
LogEnd read_log(const std::filesystem::path& file, const std::function<void(const nlohmann::ordered_json&)>& see_head,
                const std::function<void(const LoggedStep&)>& see_step);

}  // namespace moebox::report
