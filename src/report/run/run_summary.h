// A run's folder, read once: everything that its page and its model card say.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "report/run/log_line.h"
#include "report/timeline.h"

namespace moebox::report {

/// What is drawn over the steps.
enum class Figure : std::uint8_t {
  loss,
  cross_entropy,
  further,
  balance,
  z,
  gradient_norm,
  learning_rate,
  tokens_per_second,
  resident_bytes,
  peak_bytes,
  busiest,  // expert of any layer, over its layer's mean
  idle,     // experts of all layers that had nothing to do
  n_figures
};
inline constexpr std::size_t n_figures = static_cast<std::size_t>(Figure::n_figures);

struct FigureCell {
  std::array<Spread, n_figures> spreads;
  void join(const FigureCell& other) {
    for (std::size_t i = 0; i < n_figures; ++i) spreads[i].join(other.spreads[i]);
  }
};

/// Every expert's tokens, all layers one after the other.
struct LoadCell {
  std::vector<double> tokens;
  void join(const LoadCell& other) {
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] += other.tokens[i];
  }
};

struct LayerShape {
  std::int64_t layer;
  std::size_t first, n_experts;  // in LoadCell::tokens
};

struct RunSummary {
  std::string name;             // the folder's
  nlohmann::ordered_json head;  // the log's first line: hyper-parameters
  LogEnd end;

  Timeline<FigureCell> figures{150};
  Timeline<LoadCell> loads{60};
  std::vector<LayerShape> layers;
  std::int64_t n_tokens = 0, n_targets = 0, n_left_out = 0, peak_bytes = 0, last_resident_bytes = 0;
  std::int64_t n_skipped = 0;
  std::vector<std::int64_t> skipped;  // the first thousand steps that were
  double seconds = 0;
  double least_cross_entropy = 0, first_cross_entropy = 0;  // of a step
  double last_cross_entropy = 0;                            // mean of the last `n_last` steps
  std::int64_t n_last = 0;

  std::string recipe;                  // its text; empty: it is not there
  std::optional<data::Manifest> data;  // what it learnt from, where it still lies where the recipe says
  std::string no_data;                 // why there is none

  std::int64_t planned_steps() const;
  /// Of what it learnt from; empty where the log does not say.
  std::string data_digest() const;
  bool is_done() const { return end.n_steps > 0 && end.n_steps >= planned_steps(); }
};

/// Throws Error that names file and line: not_found where `folder` is none of a run, invalid_file for a line that is
/// none of a log. A run without a step, and one that is being written, are runs.
RunSummary summarize_run(const std::filesystem::path& folder);

/// The last part of a folder's name, also of "run/" and ".".
std::string folder_name(const std::filesystem::path& folder);

}  // namespace moebox::report
