#include "data/build/filter.h"

#include <algorithm>

#include "data/build/language.h"
#include "data/build/pii.h"
#include "data/build/quality.h"
#include "tokenizer/normal_form.h"

namespace moebox::data {

void clean_text(std::string& text, const FilterOptions& filters, Counts& counts) {
  if (filters.nfc) {
    std::string normal;
    if (normalize(text, NormalForm::nfc, normal)) {
      text = std::move(normal);
      ++counts.notes["nfc_changed"];
    }
  }
  if (filters.mask_pii) {
    std::array<int, n_pii_kinds> found{};
    std::string masked = mask_pii(text, &found);
    for (std::size_t kind = 0; kind < n_pii_kinds; ++kind)
      if (found[kind] > 0) counts.notes[note(static_cast<PiiKind>(kind))] += found[kind];
    text = std::move(masked);
  }
}

const char* filter_text(std::string& text, bool is_code, const FilterOptions& filters, Counts& counts,
                        std::string& language) {
  clean_text(text, filters, counts);
  if (filters.quality) {
    if (const char* problem = is_code ? code_problem(text) : prose_problem(text)) return problem;
  }
  if (!filters.languages.empty() && !is_code) {
    const DetectedLanguage found = detect_language(text);
    language = found.reliable ? found.code : "un";
    if (std::ranges::find(filters.languages, language) == filters.languages.end()) return "other_language";
  }
  return nullptr;
}

}  // namespace moebox::data
