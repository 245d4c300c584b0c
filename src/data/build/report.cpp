#include "data/build/report.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "report/chart.h"
#include "report/page.h"

namespace moebox::data {
namespace {

using Json = nlohmann::ordered_json;
using report::Bar;
using report::bar_chart;
using report::both;
using report::count_text;
using report::escaped;
using report::section;
using report::size_text;

struct Label {
  std::string_view key, english, chinese;
};

constexpr Label labels[] = {
    {"empty", "nothing but white space", "只有空白"},
    {"binary", "no text: zero bytes", "不是文本（含零字节）"},
    {"invalid_utf8", "bytes that are no UTF-8", "不是有效的 UTF-8"},
    {"invalid_json", "no valid JSON", "不是有效的 JSON"},
    {"no_such_field", "the field is missing", "缺少该字段"},
    {"not_a_text", "the field is no text", "该字段不是文本"},
    {"not_messages", "no list of messages", "不是消息列表"},
    {"line_too_long", "the line is too long", "行过长"},
    {"duplicate", "the same as one before", "与之前的文档相同"},
    {"near_duplicate", "nearly the same as one before", "与之前的文档几乎相同"},
    {"other_language", "another language", "其他语言"},
    {"empty_mask", "a conversation without an answer", "没有回答的对话"},
    {"template_refuses", "the chat template refuses it", "聊天模板拒绝"},
    {"template_mismatch", "the chat template writes answers otherwise than it asks for them", "聊天模板前后不一致"},
    {"too_short", "fewer than 50 words", "少于 50 个词"},
    {"too_long", "more than 100,000 words", "多于 100,000 个词"},
    {"word_length", "words too short or too long", "词过短或过长"},
    {"symbols", "too many # or ellipses", "# 或省略号过多"},
    {"bullets", "nearly all lines begin with a bullet", "几乎每行都以项目符号开头"},
    {"ellipses", "too many lines end with an ellipsis", "过多的行以省略号结尾"},
    {"few_letters", "too few letters", "字母过少"},
    {"lorem_ipsum", "placeholder text", "占位文本"},
    {"repeated_lines", "lines come again", "行重复"},
    {"repeated_paragraphs", "paragraphs come again", "段落重复"},
    {"repeated_phrases", "phrases come again", "短语重复"},
    {"long_lines", "lines of code too long", "代码行过长"},
    {"invalid_utf8_replaced", "invalid bytes replaced", "替换了无效字节"},
    {"part_of_a_long_text", "parts of long texts", "长文本的一部分"},
    {"nfc_changed", "composed by Unicode's rules", "按 Unicode 规则组合"},
    {"email_masked", "e-mail addresses masked", "遮盖的邮箱地址"},
    {"phone_masked", "telephone numbers masked", "遮盖的电话号码"},
    {"identity_number_masked", "identity numbers masked", "遮盖的身份证号"},
    {"card_masked", "card numbers masked", "遮盖的银行卡号"},
    {"ip_masked", "IP addresses masked", "遮盖的 IP 地址"},
};

std::string label_of(const std::string& key) {
  for (const Label& label : labels)
    if (label.key == key) return both(label.english, label.chinese);
  return escaped(key);
}

/// Reports are read as they stand in a manifest: what is missing, or no number, counts as nothing.
std::int64_t number(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_number_integer()) return 0;
  return std::clamp<std::int64_t>(object[key].is_number_unsigned() && object[key].get<std::uint64_t>() > (1ull << 53)
                                      ? 0
                                      : object[key].get<std::int64_t>(),
                                  0, std::int64_t{1} << 53);
}

struct Amount {
  std::int64_t documents = 0, bytes = 0;
};

Amount amount(const Json& object) { return {number(object, "documents"), number(object, "bytes")}; }
Amount amount(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) ? amount(object[key]) : Amount{};
}

/// All entries of an object of amounts, the largest first.
std::vector<std::pair<std::string, Amount>> amounts(const Json& object, const char* key) {
  std::vector<std::pair<std::string, Amount>> list;
  if (object.is_object() && object.contains(key) && object[key].is_object())
    for (const auto& [name, value] : object[key].items())
      list.emplace_back(name, value.is_object() ? amount(value) : Amount{number(object[key], name.c_str()), 0});
  std::ranges::stable_sort(list, std::ranges::greater(), [](const auto& entry) { return entry.second.documents; });
  return list;
}

std::string domains_chart(const Manifest& manifest) {
  std::vector<Bar> bars;
  double largest = 0;
  for (const ManifestDomain& domain : manifest.domains) {
    const Amount read = amount(domain.report, "read"), kept = amount(domain.report, "kept");
    const Amount held = amount(domain.report, "held_out");
    const auto dropped = std::max<std::int64_t>(0, read.bytes - kept.bytes - held.bytes);
    const double share =
        read.bytes > 0 ? 100.0 * static_cast<double>(kept.bytes + held.bytes) / static_cast<double>(read.bytes) : 0;
    bars.push_back({domain.name,
                    fmt::format("{}, {:.1f} %", size_text(read.bytes), share),
                    {{"kept", static_cast<double>(kept.bytes)},
                     {"held", static_cast<double>(held.bytes)},
                     {"dropped", static_cast<double>(dropped)}}});
    largest = std::max(largest, static_cast<double>(kept.bytes + held.bytes + dropped));
  }
  return bar_chart("bytes read, by domain", bars, largest);
}

std::string amounts_chart(std::string_view title, const std::vector<std::pair<std::string, Amount>>& list,
                          std::string_view kind) {
  std::vector<Bar> bars;
  for (const auto& [name, value] : list)
    bars.push_back({name,
                    count_text(value.documents) + (value.bytes > 0 ? ", " + size_text(value.bytes) : ""),
                    {{kind, static_cast<double>(value.documents)}}});
  return bar_chart(title, bars, list.empty() ? 0 : static_cast<double>(list.front().second.documents));
}

std::string lengths_chart(const Manifest& manifest) {
  std::vector<std::int64_t> counts(24);
  for (const ManifestDomain& domain : manifest.domains) {
    const Json& report = domain.report;
    if (!report.is_object() || !report.contains("lengths") || !report["lengths"].is_array()) continue;
    for (std::size_t i = 0; i < std::min(counts.size(), report["lengths"].size()); ++i)
      counts[i] += number({{"count", report["lengths"][i]}}, "count");
  }
  while (!counts.empty() && counts.back() == 0) counts.pop_back();
  std::vector<Bar> bars;
  double largest = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    bars.push_back({fmt::format("{} – {}", count_text(1ll << i), count_text((2ll << i) - 1)),
                    count_text(counts[i]),
                    {{"kept", static_cast<double>(counts[i])}}});
    largest = std::max(largest, static_cast<double>(counts[i]));
  }
  return bar_chart("documents by length in tokens", bars, largest);
}

std::string domains_table(const Manifest& manifest) {
  std::string html = "<table><tr><th>" + both("domain", "领域") + "<th>" + both("level", "级别") + "<th class=n>" +
                     both("weight", "权重") + "<th class=n>" + both("documents read", "读取文档") + "<th class=n>" +
                     both("kept", "保留") + "<th class=n>" + both("held out", "留出") + "<th class=n>" +
                     both("tokens", "词元") + "<th class=n>" + both("learnt", "学习") + "</tr>";
  for (const ManifestDomain& domain : manifest.domains) {
    const Json& report = domain.report;
    html += fmt::format(
        "<tr><td>{}<td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}</tr>",
        escaped(domain.name), name(domain.level), domain.weight ? fmt::format("{:g}", *domain.weight) : "–",
        count_text(amount(report, "read").documents), count_text(amount(report, "kept").documents),
        count_text(amount(report, "held_out").documents), count_text(number(report, "tokens")),
        count_text(number(report, "learnt_tokens")));
  }
  return html + "</table>";
}

std::string reasons_of(const ManifestDomain& domain) {
  const auto dropped = amounts(domain.report, "dropped"), notes = amounts(domain.report, "notes");
  const auto languages = amounts(domain.report, "languages");
  if (dropped.empty() && notes.empty() && languages.empty()) return "";
  std::string html = "<h3>" + escaped(domain.name) + "</h3>";
  if (!dropped.empty()) {
    html += amounts_chart("documents dropped, by reason", dropped, "dropped") + "<table>";
    for (const auto& [reason, value] : dropped)
      html += fmt::format("<tr><td>{}<td>{}<td class=n>{}<td class=n>{}</tr>", escaped(reason), label_of(reason),
                          count_text(value.documents), size_text(value.bytes));
    html += "</table>";
  }
  if (!notes.empty()) {
    html += "<p>" + both("Changed:", "修改：") + "</p><table>";
    for (const auto& [reason, value] : notes)
      html += fmt::format("<tr><td>{}<td class=n>{}</tr>", label_of(reason), count_text(value.documents));
    html += "</table>";
  }
  if (!languages.empty())
    html += "<p>" + both("Languages of what was kept:", "保留文本的语言：") + "</p>" +
            amounts_chart("documents by language", languages, "kept");
  return html;
}

std::string shards_table(const Manifest& manifest) {
  std::string html = "<table><tr><th>" + both("file", "文件") + "<th class=n>" + both("documents", "文档") +
                     "<th class=n>" + both("tokens", "词元") + "<th class=n>" + both("size", "大小") +
                     "<th>BLAKE2b</tr>";
  for (const ManifestShard& shard : manifest.shards)
    html +=
        fmt::format("<tr><td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td><code>{}…</code></tr>",
                    escaped(shard.record.file), count_text(shard.record.n_documents), count_text(shard.record.n_tokens),
                    size_text(shard.record.n_bytes), escaped(shard.record.digest.substr(0, 16)));
  return html + "</table>";
}

}  // namespace

std::string report_page(const Manifest& manifest, const std::string& title) {
  std::int64_t tokens = 0;
  for (const ManifestShard& shard : manifest.shards) tokens += shard.record.n_tokens;
  std::string reasons;
  for (const ManifestDomain& domain : manifest.domains) reasons += reasons_of(domain);
  const std::string settings = manifest.settings.dump(1, ' ', false, Json::error_handler_t::replace);
  return report::page(
      title,
      fmt::format("<p>{} {} · {} {} · <span class=\"soft\">{} <code>{}…</code></span></p>", count_text(tokens),
                  both("tokens", "词元"), count_text(manifest.vocabulary_size), both("in the vocabulary", "词表大小"),
                  both("tokenizer", "分词器"), escaped(manifest.tokenizer.substr(0, 16))) +
          section("What was read, and what was kept of it", "读取与保留",
                  domains_chart(manifest) + "<p class=\"soft\">■ " + both("kept", "保留") + " ■ " +
                      both("held out", "留出") + " ■ " + both("dropped", "丢弃") + ", " + both("in bytes", "按字节") +
                      "</p>" + domains_table(manifest)) +
          section("Why documents were dropped or changed", "丢弃与修改的原因", reasons) +
          section("Lengths of documents in tokens", "文档长度（词元）", lengths_chart(manifest)) +
          section("Shards", "分片", shards_table(manifest)) +
          section("Settings", "设置", "<pre>" + escaped(settings) + "</pre>"));
}

}  // namespace moebox::data
