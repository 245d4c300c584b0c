// The plot of a sweep: three panels side by side over the mean number of experts a token. No library: text in, SVG out.
#include <algorithm>

#include <fmt/core.h>

#include "cli/moe_sweep.h"
#include "report/chart.h"
#include "report/page.h"

namespace moebox::cli {
namespace {

constexpr int panel_width = 300, panel_height = 260, left = 62, right = 18, top = 64, bottom = 48;
constexpr int plot_width = panel_width - left - right, plot_height = panel_height - top - bottom;

struct Panel {
  const char* title;
  double (*value)(const SweepPoint&);
};

constexpr Panel panels[] = {
    {"decode, tokens a second", [](const SweepPoint& p) { return p.decode; }},
    {"prefill, tokens a second", [](const SweepPoint& p) { return p.prefill; }},
    {"perplexity", [](const SweepPoint& p) { return p.score.perplexity(); }},
};

class Drawing {
 public:
  Drawing(const std::vector<SweepPoint>& points, const Panel& panel, int x) : points_(points), panel_(panel), x_(x) {
    std::vector<double> experts, values;
    for (const SweepPoint& point : points) {
      experts.push_back(point.usage.experts_per_token());
      values.push_back(panel.value(point));
    }
    across_ = report::Axis::around(*std::min_element(experts.begin(), experts.end()),
                                   *std::max_element(experts.begin(), experts.end()));
    up_ = report::Axis::around(*std::min_element(values.begin(), values.end()),
                               *std::max_element(values.begin(), values.end()));
  }

  std::string text() const {
    std::string out = frame();
    out += series(SweepPoint::Kind::top_p, "#1f77b4", "");
    out += series(SweepPoint::Kind::max_experts, "#d2691e", " stroke-dasharray=\"5 3\"");
    for (const SweepPoint& point : points_) out += mark(point);
    return out;
  }

 private:
  double x(const SweepPoint& point) const {
    return x_ + left + plot_width * across_.place(point.usage.experts_per_token());
  }
  double y(const SweepPoint& point) const { return top + plot_height * (1 - up_.place(panel_.value(point))); }

  std::string frame() const {
    std::string out =
        fmt::format("<text x=\"{}\" y=\"{}\" class=\"title\">{}</text>\n", x_ + left, top - 12, panel_.title);
    for (int i = 0; i <= up_.ticks(); ++i) {
      const double value = up_.low + i * up_.step, at = top + plot_height * (1 - up_.place(value));
      out += fmt::format("<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" class=\"grid\"/>\n", x_ + left,
                         x_ + left + plot_width, at);
      out += fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:g}</text>\n", x_ + left - 6, at + 4, value);
    }
    for (int i = 0; i <= across_.ticks(); ++i) {
      const double value = across_.low + i * across_.step, at = x_ + left + plot_width * across_.place(value);
      out += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:g}</text>\n", at, top + plot_height + 18,
                         value);
    }
    return out + fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">experts a token</text>\n",
                             x_ + left + plot_width / 2, top + plot_height + 38);
  }

  /// A line through the points of one kind, from few experts to the model's own.
  std::string series(SweepPoint::Kind kind, const char* colour, const char* style) const {
    std::vector<const SweepPoint*> line;
    for (const SweepPoint& point : points_)
      if (point.kind == kind || point.kind == SweepPoint::Kind::none) line.push_back(&point);
    std::sort(line.begin(), line.end(), [](const SweepPoint* a, const SweepPoint* b) {
      return a->usage.experts_per_token() < b->usage.experts_per_token();
    });
    std::string path;
    for (const SweepPoint* point : line) path += fmt::format("{:.1f},{:.1f} ", x(*point), y(*point));
    return fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\"{}/>\n", path, colour, style);
  }

  std::string mark(const SweepPoint& point) const {
    const char* colour = point.kind == SweepPoint::Kind::top_p         ? "#1f77b4"
                         : point.kind == SweepPoint::Kind::max_experts ? "#d2691e"
                                                                       : "#222222";
    return fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"><title>{}: {:.2f} experts, {:g}</title></circle>\n",
        x(point), y(point), colour, point.name(), point.usage.experts_per_token(), panel_.value(point));
  }

  const std::vector<SweepPoint>& points_;
  const Panel& panel_;
  int x_;
  report::Axis across_, up_;
};

}  // namespace

std::string sweep_svg(const std::string& title, const std::vector<SweepPoint>& points) {
  constexpr int width = panel_width * static_cast<int>(std::size(panels));
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\">\n"
      "<style>text{{font:12px sans-serif;fill:#222}}.title{{font-weight:bold}}.grid{{stroke:#ddd}}</style>\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n"
      "<text x=\"{2}\" y=\"20\" class=\"title\">{3}</text>\n"
      "<text x=\"{2}\" y=\"37\"><tspan fill=\"#1f77b4\">top_p</tspan>, <tspan fill=\"#d2691e\">a fixed number of "
      "experts</tspan>, no budget</text>\n",
      width, panel_height, left, report::escaped(title));
  int x = 0;
  for (const Panel& panel : panels) {
    out += Drawing(points, panel, x).text();
    x += panel_width;
  }
  return out + "</svg>\n";
}

}  // namespace moebox::cli
