#include "report/page.h"

#include <cstddef>

#include <fmt/core.h>

namespace moebox::report {
namespace {

// The colours of h0 to h7 go from nothing to far too much, the middle one is the mean: heat_map.h.
constexpr std::string_view style = R"(
:root{color-scheme:light dark;--ink:#1c2733;--paper:#fff;--line:#d5dce3;--kept:#2f7d6d;--held:#6aa84f;--dropped:#c8553d;--soft:#566779;
--c0:#1f6fb2;--c1:#c8553d;--c2:#2f7d6d;--c3:#8a5fb0;
--h0:#1b1f6b;--h1:#2f5fae;--h2:#7fa9d6;--h3:#c6d9ec;--h4:#f2efe6;--h5:#f3c58a;--h6:#dd7a3a;--h7:#a3231f}
@media(prefers-color-scheme:dark){:root{--ink:#e4eaf0;--paper:#14191f;--line:#37424d;--kept:#58b8a3;--held:#93c47d;--dropped:#e07a5f;--soft:#9fb0c0;
--c0:#6db3ee;--c1:#ee8a6d;--c2:#58b8a3;--c3:#bd97e0;
--h0:#8fd0ff;--h1:#4f8fcb;--h2:#33608f;--h3:#26415c;--h4:#2b2f33;--h5:#7a4f1f;--h6:#d0742f;--h7:#ff6a55}}
body{font:15px/1.5 system-ui,"Noto Sans CJK SC",sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid var(--line)}h3{font-size:1rem;margin:1.4rem 0 .3rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem .2rem 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:break-word;max-width:38rem}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.zh,.soft{color:var(--soft)}pre{overflow:auto;padding:1rem;border:1px solid var(--line);font-size:13px}
.warning{border-left:4px solid var(--dropped);padding:.2rem .8rem}
svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font-size:12px}.kept{fill:var(--kept)}.held{fill:var(--held)}.dropped{fill:var(--dropped)}
.grid{stroke:var(--line);stroke-width:1}.curve{fill:none;stroke-width:1.6;stroke-linejoin:round}.band{opacity:.2;stroke:none}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}
.f0{fill:var(--c0)}.f1{fill:var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}.mark{fill:var(--dropped)}
.heat{stroke-width:1;fill:none}.h0{stroke:var(--h0)}.h1{stroke:var(--h1)}.h2{stroke:var(--h2)}.h3{stroke:var(--h3)}.h4{stroke:var(--h4)}.h5{stroke:var(--h5)}.h6{stroke:var(--h6)}.h7{stroke:var(--h7)}
)";

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n') out += c;
    }
  }
  return out;
}

std::string both(std::string_view english, std::string_view chinese) {
  return fmt::format("{} <span class=\"zh\" lang=\"zh\">{}</span>", english, chinese);
}

std::string count_text(std::int64_t value) {
  std::string digits = std::to_string(value);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<std::size_t>(at), ",");
  return digits;
}

std::string size_text(std::int64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  if (bytes < 1'000'000) return fmt::format("{:.1f} kB", static_cast<double>(bytes) / 1e3);
  if (bytes < 1'000'000'000) return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
  return fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
}

std::string section(std::string_view english, std::string_view chinese, const std::string& content) {
  return content.empty() ? "" : "<h2>" + both(english, chinese) + "</h2>" + content;
}

std::string page(std::string_view title, const std::string& body) {
  const std::string safe = escaped(title);
  return fmt::format(
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
      "<meta name=\"viewport\" content=\"width=device-width\"><title>{}</title><style>{}</style></head><body>"
      "<h1>{}</h1>{}</body></html>\n",
      safe, style, safe, body);
}

}  // namespace moebox::report
