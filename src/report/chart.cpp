#include "report/chart.h"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

#include "report/page.h"

namespace moebox::report {

Axis Axis::around(double least, double most) {
  // A range that rounding swallows would have no ticks that differ.
  const double smallest = std::max({1e-300, std::abs(most) * 1e-9, std::abs(least) * 1e-9});
  const double range = most - least > smallest ? most - least : std::max(1e-9, std::abs(most) * 0.1);
  const double rough = range / 4, power = std::pow(10.0, std::floor(std::log10(rough)));
  Axis axis;
  axis.step = power * (rough <= power ? 1 : rough <= 2 * power ? 2 : rough <= 5 * power ? 5 : 10);
  axis.low = std::floor(least / axis.step) * axis.step;
  axis.high = std::ceil(most / axis.step) * axis.step;
  if (axis.high <= axis.low) axis.high = axis.low + axis.step;
  return axis;
}

int Axis::ticks() const { return static_cast<int>(std::lround((high - low) / step)); }

std::string svg_begin(std::string_view title, int width, int height) {
  return fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\"><title>{}</title>", width, height, escaped(title));
}

std::string bar_chart(std::string_view title, const std::vector<Bar>& bars, double largest) {
  constexpr int row = 24, left = 190, width = 450;
  std::string svg = svg_begin(title, chart_width, row * static_cast<int>(bars.size()));
  for (std::size_t i = 0; i < bars.size(); ++i) {
    const auto y = static_cast<double>(i) * row;
    svg +=
        fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", left - 8, y + 16, escaped(bars[i].text));
    double x = left;
    for (const auto& [kind, size] : bars[i].parts) {
      const double length = largest > 0 ? size / largest * width : 0;
      svg += fmt::format("<rect class=\"{}\" x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\"/>", kind, x, y + 4,
                         length, row - 8);
      x += length;
    }
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\">{}</text>", x + 8, y + 16, escaped(bars[i].figure));
  }
  return svg + "</svg>";
}

}  // namespace moebox::report
