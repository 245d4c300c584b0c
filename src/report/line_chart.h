// Figures over the steps of a run: each curve is a row of cells (timeline.h), the mean as a line, least to most as a
// shadow behind it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "report/timeline.h"

namespace moebox::report {

struct Curve {
  std::string name;  // escaped by the chart
  std::vector<Spread> cells;
};

struct LineChart {
  std::string title;               // for a reader without eyes; escaped by the chart
  std::vector<Curve> curves = {};  // at most four; all of one timeline
  std::int64_t width = 1, n_steps = 0;
  /// What stands at a tick; default: the number.
  std::function<std::string(double)> label = {};
  std::vector<std::int64_t> marks = {};  // steps that are marked at the bottom
};

/// Empty where no curve has a number. The scale is logarithmic where all numbers are positive and the largest one is
/// more than 30 times the smallest mean.
std::string line_chart(const LineChart& chart);

}  // namespace moebox::report
