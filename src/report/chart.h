// What all charts have: a scale, and the frame that a reader without eyes hears of. And the simplest chart, rows of
// bars. SVG as text; colours are the page's (page.h).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moebox::report {

/// Of all charts over steps, in the drawing's own units.
inline constexpr int chart_width = 800, plot_left = 76, plot_right = 784;

/// A scale from `low` to `high` with a tick every `step`.
struct Axis {
  double low = 0, high = 1, step = 0.25;

  /// Around finite values, with ticks at 1, 2 or 5 times a power of ten.
  static Axis around(double least, double most);
  double place(double value) const { return (value - low) / (high - low); }
  /// The number of ticks behind the first one.
  int ticks() const;
};

/// The beginning of a drawing with its name, which is escaped here. Who writes it closes it by "</svg>".
std::string svg_begin(std::string_view title, int width, int height);

/// A bar with its text at the left and its figure at the right, both escaped by the chart.
struct Bar {
  std::string text, figure;
  std::vector<std::pair<std::string_view, double>> parts;  // the page's class, and a size
};

std::string bar_chart(std::string_view title, const std::vector<Bar>& bars, double largest);

}  // namespace moebox::report
