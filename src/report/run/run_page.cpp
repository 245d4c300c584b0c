#include "report/run/run_page.h"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

#include "report/heat_map.h"
#include "report/line_chart.h"
#include "report/page.h"
#include "report/run/run_facts.h"

namespace moebox::report {
namespace {

/// Of all heat maps together: what keeps a page of a few MB small enough for any browser.
constexpr std::size_t most_cells = 120'000;

std::string pre(const std::string& text) { return "<pre>" + escaped(text) + "</pre>"; }

std::string warnings(const RunSummary& run) {
  std::string html;
  const auto warn = [&](const std::string& english, const std::string& chinese) {
    html += "<p class=\"warning\">" + both(english, chinese) + "</p>";
  };
  if (run.end.first_wrong_link > 0)
    warn(fmt::format("Line {0} of the log does not fit the chain: from there on it is not what the run wrote.",
                     run.end.first_wrong_link),
         fmt::format("日志第 {} 行与哈希链不符：其后的内容不是原始记录。", run.end.first_wrong_link));
  if (run.end.cut_bytes > 0)
    warn("The log's last line is not whole and was left out: the run is writing it, or was killed.",
         "日志最后一行不完整，已略去：训练仍在写入，或曾被中断。");
  if (run.end.n_steps == 0) {
    warn("The run has not done a step yet.", "尚未完成任何一步。");
  } else if (!run.is_done()) {
    warn(fmt::format("The run is not at its end: {} of {} steps.", count_text(run.end.n_steps),
                     count_text(run.planned_steps())),
         fmt::format("训练尚未结束：{} / {} 步。", count_text(run.end.n_steps), count_text(run.planned_steps())));
  }
  return html;
}

std::string facts_table(const RunSummary& run) {
  std::string html = "<table>";
  for (const Fact& fact : key_facts(run))
    html += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
                        both(escaped(fact.english), escaped(fact.chinese)), escaped(fact.value));
  return html + "</table>";
}

struct NamedFigure {
  Figure figure;
  std::string_view name;
};

class Charts {
 public:
  explicit Charts(const RunSummary& run) : run_(run) {}

  /// A heading and a chart; nothing where there is no number.
  std::string chart(std::string_view english, std::string_view chinese, std::vector<NamedFigure> figures,
                    std::function<std::string(double)> label = {}, bool marks = false) const {
    LineChart chart = {.title = std::string(english), .width = run_.figures.width(), .n_steps = run_.figures.n_steps()};
    for (const auto& [figure, name] : figures) {
      Curve curve = {.name = std::string(name), .cells = {}};
      for (const FigureCell& cell : run_.figures.cells())
        curve.cells.push_back(cell.spreads[static_cast<std::size_t>(figure)]);
      const bool has_number = std::ranges::any_of(curve.cells, [](const Spread& cell) { return cell.n > 0; });
      // Without further losses the whole loss is the cross-entropy: one line is enough.
      const bool is_said = !chart.curves.empty() && chart.curves.front().cells == curve.cells;
      if (has_number && !is_said) chart.curves.push_back(std::move(curve));
    }
    chart.label = std::move(label);
    if (marks) chart.marks = run_.skipped;
    const std::string svg = line_chart(chart);
    return svg.empty() ? "" : "<h3>" + both(english, chinese) + "</h3>" + svg;
  }

  std::string all() const {
    if (run_.end.n_steps == 0) return "";
    const auto size = [](double bytes) { return size_text(std::llround(std::clamp(bytes, 0.0, 9e15))); };
    std::string html = "<p class=\"soft\">";
    html +=
        run_.figures.width() == 1
            ? both("Each point is a step.", "每个点为一步。")
            : both(fmt::format(
                       "Each point stands for {} steps: the line is their mean, the shadow goes from the least to the "
                       "most.",
                       count_text(run_.figures.width())),
                   fmt::format("每个点代表 {} 步：线为均值，阴影为最小值到最大值。", count_text(run_.figures.width())));
    html += "</p>";
    html +=
        chart("Loss", "损失",
              {{Figure::cross_entropy, "cross-entropy"}, {Figure::loss, "loss"}, {Figure::further, "further tokens"}},
              {}, true);
    if (run_.n_skipped > 0) html += "<p class=\"soft\">▲ " + both("steps that were skipped", "被跳过的步") + "</p>";
    html += chart("Learning rate", "学习率", {{Figure::learning_rate, "learning rate"}});
    html += chart("Length of the gradient, before clipping", "梯度范数（裁剪前）",
                  {{Figure::gradient_norm, "gradient"}}, {}, true);
    html += chart("Tokens a second", "每秒词元数", {{Figure::tokens_per_second, "tokens/s"}});
    html += chart("Memory of the process", "进程内存",
                  {{Figure::resident_bytes, "resident"}, {Figure::peak_bytes, "peak"}}, size);
    html += chart("Balance and z-loss", "均衡损失与 z 损失", {{Figure::balance, "balance"}, {Figure::z, "z"}});
    return html;
  }

 private:
  const RunSummary& run_;
};

double mean_of(const std::vector<double>& tokens, const LayerShape& layer) {
  double sum = 0;
  for (std::size_t i = 0; i < layer.n_experts; ++i) sum += tokens[layer.first + i];
  return sum / static_cast<double>(layer.n_experts);
}

/// Of one layer: an expert's tokens over the layer's mean. No number where the layer had none.
double share(const std::vector<double>& tokens, const LayerShape& layer, std::size_t expert) {
  const double mean = mean_of(tokens, layer);
  return mean > 0 ? tokens[layer.first + expert] / mean : NAN;
}

HeatMap empty_map(const RunSummary& run, std::string title, std::string rows) {
  return {.title = std::move(title),
          .rows = std::move(rows),
          .columns = "step",
          .values = {},
          .row_names = {},
          .column_steps = run.loads.width(),
          .n_steps = run.loads.n_steps()};
}

std::string layers_map(const RunSummary& run) {
  HeatMap map = empty_map(run, "busiest expert of each layer over the layer's mean, over time", "layer");
  for (const LayerShape& layer : run.layers) {
    map.row_names.push_back(std::to_string(layer.layer));
    std::vector<double>& row = map.values.emplace_back();
    for (const LoadCell& cell : run.loads.cells()) {
      const auto first = cell.tokens.begin() + static_cast<std::ptrdiff_t>(layer.first);
      const double most = *std::max_element(first, first + static_cast<std::ptrdiff_t>(layer.n_experts));
      const double mean = mean_of(cell.tokens, layer);
      row.push_back(mean > 0 ? most / mean : NAN);
    }
  }
  return heat_map(map);
}

std::string layer_map(const RunSummary& run, const LayerShape& layer) {
  HeatMap map =
      empty_map(run, fmt::format("load of every expert of layer {} over the mean, over time", layer.layer), "expert");
  for (std::size_t expert = 0; expert < layer.n_experts; ++expert) {
    std::vector<double>& row = map.values.emplace_back();
    for (const LoadCell& cell : run.loads.cells()) row.push_back(share(cell.tokens, layer, expert));
  }
  return heat_map(map);
}

/// How far a layer's experts are from even, over the whole run.
double unevenness(const RunSummary& run, const LayerShape& layer) {
  double sum = 0;
  for (const LoadCell& cell : run.loads.cells())
    for (std::size_t expert = 0; expert < layer.n_experts; ++expert) {
      const double off = share(cell.tokens, layer, expert) - 1;
      if (std::isfinite(off)) sum += off * off;
    }
  return sum / static_cast<double>(layer.n_experts);
}

std::string experts(const RunSummary& run, const Charts& charts) {
  if (run.layers.empty()) return "";
  std::string html =
      "<p class=\"soft\">" +
      both(fmt::format("Tokens of each expert over the mean of its layer; steps in a column: {}.",
                       count_text(run.loads.width())),
           fmt::format("每个专家的词元数与所在层均值之比；每列代表 {} 步。", count_text(run.loads.width()))) +
      "</p>" + heat_map_key();
  html += charts.chart("Busiest expert of any layer, over its layer's mean", "最忙专家与层均值之比",
                       {{Figure::busiest, "busiest"}});
  html += charts.chart("Experts that had nothing to do", "空闲专家数", {{Figure::idle, "idle experts"}});
  if (run.layers.size() > 1)
    html += "<h3>" + both("The busiest expert of each layer", "各层最忙的专家") + "</h3>" + layers_map(run);

  // The most uneven layers, as many as fit; in the model's order.
  std::vector<std::pair<double, const LayerShape*>> by_unevenness;
  for (const LayerShape& layer : run.layers) by_unevenness.emplace_back(unevenness(run, layer), &layer);
  std::ranges::stable_sort(by_unevenness, std::ranges::greater(), [](const auto& entry) { return entry.first; });
  std::vector<const LayerShape*> shown;
  std::size_t n_cells = 0;
  for (const auto& [_, layer] : by_unevenness) {
    n_cells += layer->n_experts * run.loads.cells().size();
    if (n_cells > most_cells) break;
    shown.push_back(layer);
  }
  std::ranges::sort(shown, {}, [](const LayerShape* layer) { return layer->first; });
  if (shown.size() < run.layers.size())
    html += "<p class=\"soft\">" +
            both(fmt::format("Of {} layers the {} most uneven ones are shown.", run.layers.size(), shown.size()),
                 fmt::format("共 {} 层，仅显示最不均衡的 {} 层。", run.layers.size(), shown.size())) +
            "</p>";
  for (const LayerShape* layer : shown)
    html += "<h3>" + both(fmt::format("Layer {}", layer->layer), fmt::format("第 {} 层", layer->layer)) + "</h3>" +
            layer_map(run, *layer);
  return html;
}

std::string data_section(const RunSummary& run) {
  std::string html = "<p>" + both("digest", "摘要") + " <code>" + escaped(run.data_digest()) + "</code></p>";
  if (!run.data) return html + "<p class=\"soft\">" + escaped(run.no_data) + "</p>";
  html += "<table><tr><th scope=\"col\">" + both("domain", "领域") + "</th><th scope=\"col\">" + both("level", "级别") +
          "</th><th scope=\"col\" class=\"n\">" + both("weight", "权重") + "</th><th scope=\"col\" class=\"n\">" +
          both("documents", "文档") + "</th><th scope=\"col\" class=\"n\">" + both("tokens", "词元") +
          "</th><th scope=\"col\">" + both("sources", "来源") + "</th></tr>";
  for (const DataDomain& domain : data_domains(run))
    html += fmt::format(
        "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td "
        "class=\"n\">{}</td><td>{}</td></tr>",
        escaped(domain.name), escaped(domain.level), escaped(domain.weight), domain.documents, domain.tokens,
        escaped(domain.sources));
  return html + "</table>";
}

std::string hyper_section(const RunSummary& run) {
  std::string html = "<table>";
  for (const auto& [key, value] : hyper_parameters(run))
    html += fmt::format("<tr><th scope=\"row\"><code>{}</code></th><td>{}</td></tr>", escaped(key), escaped(value));
  html += "</table>";
  if (run.head.contains("config"))
    html += "<details><summary>" + both("the model's configuration", "模型配置") + "</summary>" +
            pre(run.head["config"].dump(1)) + "</details>";
  if (!run.recipe.empty())
    html += "<details><summary>" + both("the recipe, as it was written", "配方原文") + "</summary>" + pre(run.recipe) +
            "</details>";
  return html;
}

}  // namespace

std::string run_page(const RunSummary& run, const std::string& card) {
  const Charts charts(run);
  return page(run.name, warnings(run) + section("Figures", "要点", facts_table(run)) +
                            section("Over the steps", "训练曲线", charts.all()) +
                            section("Experts", "专家负载", experts(run, charts)) +
                            section("Data", "数据", data_section(run)) +
                            section("Hyper-parameters", "超参数", hyper_section(run)) +
                            section("Model card", "模型卡", pre(card)));
}

}  // namespace moebox::report
