// Charts: how many steps become few cells, that no number breaks a drawing, and that no name becomes markup.
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "report/heat_map.h"
#include "report/line_chart.h"
#include "report/page.h"

namespace moebox::report {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
const std::string evil = "<img src=x onerror=alert(1)>\"'&";

std::size_t count_of(const std::string& text, std::string_view what) {
  std::size_t count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(Timeline, JoinsStepsInEqualCells) {
  for (int n_steps = 0; n_steps <= 200; ++n_steps) {
    Timeline<Spread> line(5);
    for (int step = 1; step <= n_steps; ++step) line.add(Spread::of(step));
    ASSERT_EQ(line.n_steps(), n_steps);
    ASSERT_LT(line.cells().size(), 10u);
    ASSERT_GE(line.cells().size(), std::min<std::size_t>(5, static_cast<std::size_t>(n_steps)));
    std::int64_t next = 1;
    for (const Spread& cell : line.cells()) {
      const std::int64_t last = std::min<std::int64_t>(next + line.width() - 1, n_steps);
      ASSERT_EQ(cell.least, next) << n_steps;
      ASSERT_EQ(cell.most, last) << n_steps;
      ASSERT_EQ(cell.n, last - next + 1) << n_steps;
      ASSERT_EQ(cell.mean(), (static_cast<double>(next) + static_cast<double>(last)) / 2) << n_steps;
      next = last + 1;
    }
    ASSERT_EQ(next, n_steps + 1);
  }
}

TEST(Timeline, LeavesOutWhatIsNoNumber) {
  Spread cell;
  for (const double value : {std::nan(""), 3.0, infinity, -1.0, 1e200}) cell.join(Spread::of(value));
  EXPECT_EQ(cell.n, 2);
  EXPECT_EQ(cell.least, -1);
  EXPECT_EQ(cell.most, 3);
  EXPECT_TRUE(std::isnan(Spread().mean()));
}

LineChart chart_of(const std::vector<double>& values) {
  LineChart chart = {.title = "loss", .curves = {{.name = "mean", .cells = {}}}};
  for (const double value : values) chart.curves[0].cells.push_back(Spread::of(value));
  chart.n_steps = static_cast<std::int64_t>(values.size());
  return chart;
}

TEST(LineChart, NoNumberBreaksIt) {
  EXPECT_EQ(line_chart(chart_of({})), "");
  EXPECT_EQ(line_chart(chart_of({NAN, infinity})), "");
  for (const std::vector<double>& values : std::vector<std::vector<double>>{{0},
                                                                            {1, 1},
                                                                            {-1e99, 1e99},
                                                                            {1e-300, 1e99},
                                                                            {5e-324},
                                                                            {1e99, 1e99 + 1},
                                                                            {0.1, NAN, 0.1, 0.2},
                                                                            {-1e-9, 1e-9},
                                                                            {1, std::nextafter(1, 2)}}) {
    const std::string svg = line_chart(chart_of(values));
    for (const char* part : {"nan", "inf", "NaN"}) EXPECT_EQ(svg.find(part), std::string::npos) << values[0] << svg;
    EXPECT_NE(svg.find("<desc>mean: from "), std::string::npos);
    EXPECT_LT(svg.size(), 8000u) << values[0];
  }
  // A gap is not drawn over.
  EXPECT_EQ(count_of(line_chart(chart_of({1, 2, NAN, 1, 2})), "<polyline"), 2u);
}

TEST(LineChart, ManyPowersOfTenAreLogarithmic) {
  const std::string svg = line_chart(chart_of({0.1, 1, 10, 1000}));
  for (const char* label : {">0.1<", ">1<", ">10<", ">100<", ">1000<"}) EXPECT_NE(svg.find(label), std::string::npos);
  EXPECT_EQ(line_chart(chart_of({1, 2, 3})).find(">10<"), std::string::npos);
}

TEST(HeatMap, JoinsEqualNeighbours) {
  const HeatMap map = {
      .title = "t", .rows = "expert", .columns = "step", .values = {{1, 1, 1, 0, 9}, {NAN, 1, 1, 1, 1}}, .n_steps = 5};
  const std::string svg = heat_map(map);
  EXPECT_NE(svg.find("h4\" d=\"M0 0.5h3M1 1.5h4\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("h0\" d=\"M3 0.5h1\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("h7\" d=\"M4 0.5h1\""), std::string::npos) << svg;
  EXPECT_EQ(heat_map({}), "");
  EXPECT_EQ(count_of(heat_map_key(), "<path"), 8u);
}

TEST(Charts, NothingBecomesMarkup) {
  LineChart chart = chart_of({1, 2});
  chart.title = chart.curves[0].name = evil;
  chart.label = [](double) { return evil; };
  std::string all = page(evil, line_chart(chart));
  all += heat_map({.title = evil, .rows = evil, .columns = evil, .values = {{1}}, .n_steps = 1});
  EXPECT_EQ(all.find("<img"), std::string::npos);
  EXPECT_EQ(all.find("\"'"), std::string::npos);
  EXPECT_GT(count_of(all, "&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;"), 6u);
  EXPECT_EQ(count_of(all, "<svg"), count_of(all, "</svg>"));
}

}  // namespace
}  // namespace moebox::report
