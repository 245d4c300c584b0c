#include "report/run/model_card.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <span>
#include <system_error>

#include <fmt/core.h>

#include "base/error.h"
#include "data/digest.h"
#include "io/output_file.h"
#include "report/run/run_facts.h"

namespace moebox::report {
namespace {

namespace fs = std::filesystem;

// The last line of a card that nobody has changed: the digest of all before it.
constexpr std::string_view seal_begin = "<!-- made by moebox report; ", seal_end = " -->\n";
constexpr std::size_t max_card_bytes = 1 << 20;
constexpr std::size_t most_value_bytes = 400;

/// Text of any origin in a line or a cell of a table.
std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (out.size() > most_value_bytes && (static_cast<unsigned char>(c) & 0xc0) != 0x80) return out + " …";
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else if (std::string_view("\\`*[]|#~$!").find(c) != std::string_view::npos)
      out += std::string("\\") + c;
    else if (static_cast<unsigned char>(c) >= 0x20)
      out += c;
    else
      out += ' ';
  }
  return out;
}

std::string front_matter(const RunSummary& run, const CardOptions& options) {
  std::string text = "---\n";
  text += options.license.empty() ? "# license: is for you to say (moebox report RUN --card --license apache-2.0)\n"
                                  : "license: " + options.license + "\n";
  if (const auto languages = languages_of(run); !languages.empty()) {
    text += "language:\n";
    // Quoted: "no" is a language, and false.
    for (const std::string& language : languages) text += "- \"" + language + "\"\n";
  }
  text += "pipeline_tag: text-generation\ntags:\n- moebox\n";
  if (!run.layers.empty()) text += "- moe\n- mixture-of-experts\n";
  return text + "---\n";
}

std::string data_text(const RunSummary& run) {
  std::string text = "\n## Training data\n\n";
  if (!run.data) return text + plain(run.no_data) + ".\n";
  text += "| domain | level | weight | documents | tokens | sources |\n|---|---|---:|---:|---:|---|\n";
  for (const DataDomain& domain : data_domains(run))
    text += fmt::format("| {} | {} | {} | {} | {} | {} |\n", plain(domain.name), domain.level, domain.weight,
                        domain.documents, domain.tokens, plain(domain.sources));
  return text;
}

}  // namespace

std::string model_card(const RunSummary& run, const CardOptions& options) {
  const auto is_safe = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.'; };
  if (options.license.size() > 64 || !std::ranges::all_of(options.license, is_safe))
    throw Error(ErrorKind::invalid_argument, "expected an identifier such as apache-2.0 or cc-by-4.0", "--license");
  std::string text = front_matter(run, options);
  const nlohmann::ordered_json architecture = run.head.value("architecture", nlohmann::ordered_json());
  text += fmt::format("\n# {}\n\nA language model ({}), trained with moebox.\n", plain(run.name),
                      plain(architecture.is_string() ? architecture.get<std::string>() : "?"));
  if (!run.is_done()) text += "\nThe run is not at its end: this is the model so far.\n";
  text += "\n## Figures\n\n| | |\n|---|---|\n";
  for (const Fact& fact : key_facts(run)) text += fmt::format("| {} | {} |\n", plain(fact.english), plain(fact.value));
  text += "\nLosses are of the training data, in nats a token; nothing here was measured on other text.\n";
  text += data_text(run);
  text += "\n## Hyper-parameters\n\n| | |\n|---|---|\n";
  for (const auto& [key, value] : hyper_parameters(run)) text += fmt::format("| {} | {} |\n", plain(key), plain(value));
  text += fmt::format(
      "\n## Provenance\n\nEvery step's rows, losses and loads of experts are in `{}`, each line bound to those before "
      "it; "
      "`moebox verify` does steps again and compares. The last link is\n`{}`.\n\n",
      log_name, plain(run.end.link));
  return text + std::string(seal_begin) + data::hex(data::Hasher().add(text).finish()) + std::string(seal_end);
}

fs::path write_card(const fs::path& run_folder, const std::string& card, bool replace) {
  const fs::path model = run_folder / "model", path = model / card_name;
  std::error_code unknown;
  if (!fs::is_directory(model, unknown))
    throw Error(ErrorKind::not_found, "the run has no model yet", model.string(),
                "it is written when training ends or is stopped");
  if (fs::exists(path, unknown) && !replace) {
    std::ifstream in(path, std::ios::binary);
    std::string there(max_card_bytes, '\0');
    in.read(there.data(), static_cast<std::streamsize>(there.size()));
    there.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, in.gcount())));
    const auto seal = there.rfind(seal_begin);
    const bool is_ours = seal != std::string::npos &&
                         there.substr(seal) == std::string(seal_begin) +
                                                   data::hex(data::Hasher().add(there.substr(0, seal)).finish()) +
                                                   std::string(seal_end);
    if (!is_ours)
      throw Error(ErrorKind::invalid_argument, "a card is there that a person wrote or changed", path.string(),
                  "--force replaces it");
  }
  OutputFile out(path, true);
  out.write(std::as_bytes(std::span(card)));
  out.commit();
  return path;
}

}  // namespace moebox::report
