#include "report/heat_map.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/core.h>

#include "report/chart.h"
#include "report/page.h"

namespace moebox::report {
namespace {

constexpr int map_width = plot_right - plot_left;

struct Level {
  double below;  // of values
  std::string_view text;
};

// As many as the page has colours: h0 to h7. The page's middle one is the mean.
constexpr std::array levels = {Level{1e-9, "0"},      Level{0.25, "< ¼"},        Level{0.5, "¼ – ½"},
                               Level{0.8, "½ – 0.8"}, Level{1.25, "0.8 – 1.25"}, Level{2, "1.25 – 2"},
                               Level{4, "2 – 4"},     Level{1e300, "≥ 4"}};

constexpr std::size_t no_level = levels.size();

std::size_t level_of(double value) {
  if (!(value >= 0)) return no_level;
  for (std::size_t i = 0; i < levels.size(); ++i)
    if (value < levels[i].below) return i;
  return no_level;
}

/// A row is drawn in lines of one colour; equal neighbours are one line.
std::array<std::string, levels.size()> lines_of(const HeatMap& map) {
  std::array<std::string, levels.size()> lines;
  for (std::size_t row = 0; row < map.values.size(); ++row) {
    const std::vector<double>& values = map.values[row];
    for (std::size_t begin = 0; begin < values.size();) {
      const std::size_t level = level_of(values[begin]);
      std::size_t end = begin + 1;
      while (end < values.size() && level_of(values[end]) == level) ++end;
      if (level != no_level) lines[level] += fmt::format("M{} {}.5h{}", begin, row, end - begin);
      begin = end;
    }
  }
  return lines;
}

}  // namespace

std::string heat_map(const HeatMap& map) {
  if (map.values.empty() || map.values.front().empty()) return "";
  const auto n_rows = static_cast<int>(map.values.size());
  const std::size_t n_columns = map.values.front().size();
  const int row_height = std::clamp(420 / n_rows, 3, 18), height = n_rows * row_height;
  std::string svg = svg_begin(map.title, chart_width, height + 40);
  for (int row = 0; row < n_rows; ++row) {
    // Every row has a number where there is room for it.
    if (row_height < 12 && row % 8 != 0) continue;
    svg += fmt::format(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", plot_left - 8,
        row * row_height + std::min(row_height, 12),
        map.row_names.empty() ? std::to_string(row) : escaped(map.row_names[static_cast<std::size_t>(row)]));
  }
  // The inner drawing counts in cells.
  svg += fmt::format(
      "<svg x=\"{}\" y=\"0\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\" preserveAspectRatio=\"none\">", plot_left,
      map_width, height, n_columns, n_rows);
  const auto lines = lines_of(map);
  for (std::size_t i = 0; i < lines.size(); ++i)
    if (!lines[i].empty()) svg += fmt::format("<path class=\"heat h{}\" d=\"{}\"/>", i, lines[i]);
  svg += "</svg>";
  const auto shown = static_cast<double>(static_cast<std::int64_t>(n_columns) * map.column_steps);
  const Axis steps = Axis::around(1, static_cast<double>(std::max<std::int64_t>(map.n_steps, 2)));
  for (int i = 0; i <= steps.ticks(); ++i) {
    const auto step = static_cast<std::int64_t>(steps.low + i * steps.step);
    if (step < 1 || step > map.n_steps || steps.step < 1) continue;
    svg +=
        fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                    plot_left + map_width * (static_cast<double>(step) - 0.5) / shown, height + 16, count_text(step));
  }
  return svg +
         fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><text x=\"0\" y=\"{}\">{}</text></svg>",
                     plot_left + map_width, height + 32, escaped(map.columns), height + 32, escaped(map.rows));
}

std::string heat_map_key() {
  constexpr int cell = 98;
  std::string svg = svg_begin("load over the mean", chart_width, 40);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const int x = static_cast<int>(i) * cell + 6;
    svg += fmt::format("<path class=\"h{}\" stroke-width=\"14\" d=\"M{} 10h{}\"/><text x=\"{}\" y=\"34\">{}</text>", i,
                       x, cell - 8, x, escaped(levels[i].text));
  }
  return svg + "</svg>";
}

}  // namespace moebox::report
