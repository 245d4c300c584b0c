// A grid of colours: rows of things, columns of time. Values are shares of what would be even, so 1 is the mean.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moebox::report {

struct HeatMap {
  std::string title;          // for a reader without eyes; escaped by the map
  std::string rows, columns;  // what they are, escaped as well: "expert", "step"
  /// Rows of equal length; what is no number, or less than 0, has no colour.
  std::vector<std::vector<double>> values;
  std::vector<std::string> row_names = {};     // as many as rows, escaped by the map; empty: their numbers, from 0
  std::int64_t column_steps = 1, n_steps = 0;  // that a column stands for; the last one may have fewer
};

std::string heat_map(const HeatMap& map);
/// What the colours mean, once for all maps of a page.
std::string heat_map_key();

}  // namespace moebox::report
