// The filters of one text, in order (FilterOptions, build.h); what they count.
#pragma once

#include <string>

#include "data/build/build.h"
#include "data/build/counts.h"

namespace moebox::data {

/// Changes the text where filters do, and counts that in `counts`. Gives the reason when it is to be dropped, or
/// nullptr; `language` gets the text's where languages are looked at.
const char* filter_text(std::string& text, bool is_code, const FilterOptions& filters, Counts& counts,
                        std::string& language);

/// Only what changes texts: for the texts of conversations.
void clean_text(std::string& text, const FilterOptions& filters, Counts& counts);

}  // namespace moebox::data
