#include "report/run/run_facts.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/core.h>

#include "report/page.h"

namespace moebox::report {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t most_files = 20;

std::int64_t count_of(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_number_unsigned()) return 0;
  const auto value = object[key].get<std::uint64_t>();
  return value < (1ull << 53) ? static_cast<std::int64_t>(value) : 0;
}

std::string text_of(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : "";
}

std::string loss_text(double cross_entropy) {
  if (std::isnan(cross_entropy)) return "–";
  if (cross_entropy > 30) return fmt::format("{:.4f}", cross_entropy);
  return fmt::format("{:.4f} (perplexity {:.4g})", cross_entropy, std::exp(cross_entropy));
}

/// Files, licence and origin of the sources of one domain: "a.txt, b.txt (license: cc0-1.0)".
std::string sources_of(const Json& settings, const std::string& domain) {
  if (!settings.is_object() || !settings.contains("sources") || !settings["sources"].is_array()) return "";
  std::string all;
  std::size_t n_files = 0;
  for (const Json& source : settings["sources"]) {
    if (text_of(source, "domain") != domain) continue;
    if (source.contains("files") && source["files"].is_array())
      for (const Json& file : source["files"])
        if (file.is_string() && ++n_files <= most_files) all += (all.empty() ? "" : ", ") + file.get<std::string>();
    std::string more;
    for (const char* key : {"license", "origin"})
      if (const std::string value = text_of(source, key); !value.empty())
        more += fmt::format("{}{}: {}", more.empty() ? "" : "; ", key, value);
    if (!more.empty()) all += " (" + more + ")";
  }
  if (n_files > most_files) all += fmt::format(" and {} more files", n_files - most_files);
  return all;
}

Spread last_cell(const RunSummary& run, Figure figure) {
  return run.figures.cells().empty() ? Spread() : run.figures.cells().back().spreads[static_cast<std::size_t>(figure)];
}

}  // namespace

std::string time_text(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto all = static_cast<std::int64_t>(seconds + 0.5);
  if (all < 3600) return fmt::format("{}:{:02}", all / 60, all % 60);
  return fmt::format("{}:{:02}:{:02}", all / 3600, all / 60 % 60, all % 60);
}

std::vector<Fact> key_facts(const RunSummary& run) {
  std::vector<Fact> facts;
  facts.push_back(
      {"steps", "步数", fmt::format("{} of {}", count_text(run.end.n_steps), count_text(run.planned_steps()))});
  facts.push_back({"parameters", "参数量",
                   fmt::format("{}, of which each token uses {}", count_text(count_of(run.head, "parameters")),
                               count_text(count_of(run.head, "active_parameters")))});
  facts.push_back({"tokens seen", "训练词元",
                   fmt::format("{}, {} of them learnt", count_text(run.n_tokens), count_text(run.n_targets))});
  if (run.end.n_steps > 0) {
    facts.push_back({"cross-entropy of the first step", "首步交叉熵", loss_text(run.first_cross_entropy)});
    facts.push_back({fmt::format("cross-entropy, mean of the last {} steps", run.n_last),
                     fmt::format("最后 {} 步的平均交叉熵", run.n_last), loss_text(run.last_cross_entropy)});
    facts.push_back({"lowest cross-entropy of a step", "单步最低交叉熵", loss_text(run.least_cross_entropy)});
    if (run.seconds > 0)
      facts.push_back({"time in steps, and speed", "用时与速度",
                       fmt::format("{}, {} tokens/s", time_text(run.seconds),
                                   count_text(std::llround(static_cast<double>(run.n_tokens) / run.seconds)))});
  }
  if (run.peak_bytes > 0) facts.push_back({"memory, at most", "内存峰值", size_text(run.peak_bytes)});
  facts.push_back({"steps skipped", "跳过的步数", count_text(run.n_skipped)});
  if (run.n_left_out > 0) facts.push_back({"batches left out", "舍弃的批次", count_text(run.n_left_out)});
  if (const Spread busiest = last_cell(run, Figure::busiest); busiest.n > 0)
    facts.push_back({"busiest expert over the mean, at the end; idle experts", "末段最忙专家与均值之比；空闲专家",
                     fmt::format("{:.2f}; {:.1f}", busiest.mean(), last_cell(run, Figure::idle).mean())});
  facts.push_back({"data", "数据摘要", run.data_digest()});
  facts.push_back({"the chain's last link", "哈希链末端", run.end.link});
  return facts;
}

std::vector<std::pair<std::string, std::string>> hyper_parameters(const RunSummary& run) {
  std::vector<std::pair<std::string, std::string>> list;
  for (const auto& [key, value] : run.head.items()) {
    if (key == "config" || key == "moebox_train" || key == "data") continue;
    list.emplace_back(key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return list;
}

std::vector<DataDomain> data_domains(const RunSummary& run) {
  std::vector<DataDomain> list;
  if (!run.data) return list;
  for (std::size_t i = 0; i < run.data->domains.size(); ++i) {
    const data::ManifestDomain& domain = run.data->domains[i];
    std::int64_t n_documents = 0, n_tokens = 0;
    for (const data::ManifestShard& shard : run.data->shards) {
      if (shard.domain != i || shard.split != data::train_split) continue;
      n_documents += shard.record.n_documents;
      n_tokens += shard.record.n_tokens;
    }
    list.push_back({.name = domain.name,
                    .level = std::string(name(domain.level)),
                    .weight = domain.weight ? fmt::format("{:g}", *domain.weight) : "–",
                    .documents = count_text(n_documents),
                    .tokens = count_text(n_tokens),
                    .sources = sources_of(run.data->settings, domain.name)});
  }
  return list;
}

std::vector<std::string> languages_of(const RunSummary& run) {
  std::map<std::string, std::int64_t> counts;
  std::int64_t all = 0;
  if (run.data)
    for (const data::ManifestDomain& domain : run.data->domains) {
      if (!domain.report.is_object() || !domain.report.contains("languages")) continue;
      const Json& languages = domain.report["languages"];
      if (!languages.is_object()) continue;
      for (const auto& [language, amount] : languages.items()) {
        counts[language] += count_of(amount, "documents");
        all += count_of(amount, "documents");
      }
    }
  std::vector<std::string> list;
  for (const auto& [language, n_documents] : counts) {
    const bool is_code = (language.size() == 2 || language.size() == 3) && language != "un" &&
                         std::ranges::all_of(language, [](char c) { return c >= 'a' && c <= 'z'; });
    if (is_code && n_documents * 100 >= all && n_documents > 0) list.push_back(language);
  }
  std::ranges::stable_sort(list, std::ranges::greater(), [&](const std::string& one) { return counts.at(one); });
  return list;
}

}  // namespace moebox::report
