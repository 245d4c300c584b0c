// moebox bench --moe-sweep: what a budget on experts gains in speed and costs in perplexity.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/text_score.h"

namespace moebox::cli {

struct MoeSweepOptions {
  std::string model;
  std::string text_file, ids_file;  // one of them; "-" is standard input
  std::string svg_file;             // empty: no plot
  std::vector<double> top_p;        // budgets to try; empty: 0.9, 0.8 ... 0.3
  std::vector<int> max_experts;     // empty: 1, 2, 4 ... below the model's own number
  std::optional<int> window;        // of the text
  int windows = 0;                  // 0: all
  std::optional<int> prefill, decode;
  int threads = 0, repeat = 3;
  bool json = false;
};

/// One budget, and what came of it.
struct SweepPoint {
  enum class Kind { none, top_p, max_experts };
  Kind kind = Kind::none;
  RoutingBudget budget;
  TextScore score;
  MoeUsage usage;                  // of the text
  double prefill = 0, decode = 0;  // tokens a second

  /// "no budget", "top_p 0.7", "2 experts".
  std::string name() const;
};

/// The plot as an SVG document: decode, prefill and perplexity over the mean number of experts. `title` is any text.
std::string sweep_svg(const std::string& title, const std::vector<SweepPoint>& points);

/// Measures, prints and plots. Throws Error(invalid_argument) for a dense model.
int moe_sweep(const Context& context, const MoeSweepOptions& options);

}  // namespace moebox::cli
