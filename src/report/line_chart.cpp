#include "report/line_chart.h"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

#include "report/chart.h"
#include "report/page.h"

namespace moebox::report {
namespace {

constexpr int plot_top = 24, plot_bottom = 206, chart_height = 244;
constexpr double largest_linear_ratio = 30;

/// Where values stand, from bottom to top.
class Scale {
 public:
  explicit Scale(const std::vector<Curve>& curves) {
    Spread all;
    double least_mean = INFINITY;
    for (const Curve& curve : curves)
      for (const Spread& cell : curve.cells) {
        all.join(cell);
        if (cell.n > 0) least_mean = std::min(least_mean, cell.mean());
      }
    n_ = all.n;
    if (n_ == 0) return;
    logarithmic_ = all.least > 0 && all.most > largest_linear_ratio * least_mean;
    axis_ = logarithmic_ ? Axis{std::floor(std::log10(all.least)), std::ceil(std::log10(all.most)), 1}
                         : Axis::around(all.least, all.most);
    // Of many powers of ten some are named.
    while (logarithmic_ && axis_.ticks() > 8) axis_.step *= 2;
  }

  bool empty() const { return n_ == 0; }
  double y(double value) const {
    return plot_bottom - (plot_bottom - plot_top) * axis_.place(logarithmic_ ? std::log10(value) : value);
  }
  /// The values that have a tick.
  std::vector<double> ticks() const {
    std::vector<double> values;
    for (double at = axis_.low; at < axis_.high + axis_.step / 2; at += axis_.step)
      values.push_back(logarithmic_ ? std::pow(10.0, at) : std::abs(at) < axis_.step * 1e-6 ? 0.0 : at);
    return values;
  }

 private:
  std::int64_t n_ = 0;
  bool logarithmic_ = false;
  Axis axis_;
};

class Plot {
 public:
  explicit Plot(const LineChart& chart) : chart_(chart), scale_(chart.curves) {}

  std::string text() const {
    if (scale_.empty()) return "";
    std::string svg =
        svg_begin(chart_.title, chart_width, chart_height) + "<desc>" + description() + "</desc>" + frame();
    for (std::size_t i = 0; i < chart_.curves.size(); ++i) svg += curve(chart_.curves[i].cells, i) + key(i);
    for (const std::int64_t step : chart_.marks)
      svg += fmt::format("<path class=\"mark\" d=\"M{0:.1f} {1}l-3.5 7h7z\"/>", x_of_step(static_cast<double>(step)),
                         plot_bottom - 7);
    return svg + "</svg>";
  }

 private:
  double x_of_step(double step) const {
    const auto n = static_cast<double>(std::max<std::int64_t>(chart_.n_steps, 2));
    return plot_left + (plot_right - plot_left) * (step - 1) / (n - 1);
  }
  /// The middle of a cell's steps; the last one may be short.
  double x(std::size_t cell) const {
    const auto first = static_cast<double>(cell) * static_cast<double>(chart_.width) + 1;
    const double last = std::min(first + static_cast<double>(chart_.width) - 1, static_cast<double>(chart_.n_steps));
    return x_of_step((first + last) / 2);
  }
  std::string label(double value) const { return chart_.label ? chart_.label(value) : fmt::format("{:g}", value); }

  std::string description() const {
    std::string text;
    for (const Curve& curve : chart_.curves) {
      Spread all;
      for (const Spread& cell : curve.cells) all.join(cell);
      if (all.n == 0) continue;
      text += escaped(fmt::format("{}: from {} to {}, mean {}. ", curve.name, label(all.least), label(all.most),
                                  label(all.mean())));
    }
    return text;
  }

  std::string frame() const {
    std::string svg;
    for (const double value : scale_.ticks())
      svg += fmt::format(
          "<path class=\"grid\" d=\"M{0} {1:.1f}H{2}\"/><text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>",
          plot_left, scale_.y(value), plot_right, plot_left - 8, scale_.y(value) + 4, escaped(label(value)));
    const Axis steps = Axis::around(1, static_cast<double>(std::max<std::int64_t>(chart_.n_steps, 2)));
    for (int i = 0; i <= steps.ticks(); ++i) {
      const auto step = static_cast<std::int64_t>(steps.low + i * steps.step);
      if (step < 1 || step > chart_.n_steps || steps.step < 1) continue;
      svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                         x_of_step(static_cast<double>(step)), plot_bottom + 18, count_text(step));
    }
    return svg + fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">step</text>", plot_right, plot_bottom + 34);
  }

  std::string key(std::size_t number) const {
    const int x = plot_left + static_cast<int>(number) * 180;
    return fmt::format("<path class=\"curve c{}\" d=\"M{} 10h18\"/><text x=\"{}\" y=\"14\">{}</text>", number, x,
                       x + 24, escaped(chart_.curves[number].name));
  }

  /// A line for each row of cells that have a number; what stands alone is a dot.
  std::string curve(const std::vector<Spread>& cells, std::size_t number) const {
    std::string svg;
    for (std::size_t begin = 0; begin < cells.size();) {
      if (cells[begin].n == 0) {
        ++begin;
        continue;
      }
      std::size_t end = begin;
      while (end < cells.size() && cells[end].n > 0) ++end;
      svg += piece(cells, begin, end, number);
      begin = end;
    }
    return svg;
  }

  std::string piece(const std::vector<Spread>& cells, std::size_t begin, std::size_t end, std::size_t number) const {
    if (end - begin == 1 && cells[begin].n == 1)
      return fmt::format("<circle class=\"f{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2\"/>", number, x(begin),
                         scale_.y(cells[begin].mean()));
    std::string line, above, below;
    bool is_spread = false;
    for (std::size_t i = begin; i < end; ++i) {
      line += fmt::format("{:.1f},{:.1f} ", x(i), scale_.y(cells[i].mean()));
      above += fmt::format("{:.1f},{:.1f} ", x(i), scale_.y(cells[i].most));
      const std::size_t back = end - 1 - (i - begin);
      below += fmt::format("{:.1f},{:.1f} ", x(back), scale_.y(cells[back].least));
      is_spread |= cells[i].most > cells[i].least;
    }
    std::string svg;
    if (is_spread) svg = fmt::format("<polygon class=\"band f{}\" points=\"{}{}\"/>", number, above, below);
    return svg + fmt::format("<polyline class=\"curve c{}\" points=\"{}\"/>", number, line);
  }

  const LineChart& chart_;
  const Scale scale_;
};

}  // namespace

std::string line_chart(const LineChart& chart) { return Plot(chart).text(); }

}  // namespace moebox::report
