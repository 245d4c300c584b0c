// A run's page: what it was made with, how it went, and what came of it.
#pragma once

#include <string>

#include "report/run/run_summary.h"

namespace moebox::report {

inline constexpr const char* page_name = "report.html";

/// Everything from the run's folder is escaped: names may come from anywhere. `card` is the model card's text.
std::string run_page(const RunSummary& run, const std::string& card);

}  // namespace moebox::report
