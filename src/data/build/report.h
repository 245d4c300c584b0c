// One HTML page that says what a data set is made of: what was kept, what was dropped and why. Self-contained: no
// script, no other file, nothing from outside; labels in English and Chinese.
#pragma once

#include <string>

#include "data/dataset.h"

namespace moebox::data {

inline constexpr const char* report_name = "report.html";

/// Everything that the manifest says is escaped: names may come from anywhere. `title` is the page's.
std::string report_page(const Manifest& manifest, const std::string& title);

}  // namespace moebox::data
