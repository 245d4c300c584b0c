// A model card: Markdown with the front matter that Hugging Face's hub reads. Everything in it is from the run's
// folder; what only a person knows (licence, intended use) is left to the person, and says so.
#pragma once

#include <filesystem>
#include <string>

#include "report/run/run_summary.h"

namespace moebox::report {

inline constexpr const char* card_name = "README.md";

struct CardOptions {
  std::string license;  // "apache-2.0"; empty: not said
};

/// Throws Error(invalid_argument) for a licence that is no identifier.
std::string model_card(const RunSummary& run, const CardOptions& options);

/// Writes the card into the folder of the run's model, and says where. Throws Error: not_found without a model;
/// invalid_argument where a card is there that a person wrote or changed, unless `replace`; io.
std::filesystem::path write_card(const std::filesystem::path& run_folder, const std::string& card, bool replace);

}  // namespace moebox::report
