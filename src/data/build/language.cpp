#include "data/build/language.h"

#include <algorithm>

#include <cld2/public/compact_lang_det.h>
#include <cld2/public/encodings.h>

namespace moebox::data {

DetectedLanguage detect_language(std::string_view text) {
  // A few pages tell it; the detector counts in ints.
  constexpr std::size_t most_bytes = std::size_t{1} << 16;
  if (text.size() > most_bytes) {
    std::size_t end = most_bytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end);
  }
  CLD2::Language languages[3];
  int percents[3], n_bytes = 0;
  double scores[3];
  bool reliable = false;
  const CLD2::CLDHints hints = {nullptr, nullptr, CLD2::UNKNOWN_ENCODING, CLD2::UNKNOWN_LANGUAGE};
  CLD2::ExtDetectLanguageSummary(text.data(), static_cast<int>(text.size()), true, &hints, 0, languages, percents,
                                 scores, nullptr, &n_bytes, &reliable);
  DetectedLanguage found;
  found.code = CLD2::LanguageCode(languages[0]);
  if (found.code.starts_with("zh")) found.code = "zh";  // zh-Hant
  found.share = std::clamp(percents[0] / 100.0, 0.0, 1.0);
  found.reliable = reliable;
  return found;
}

}  // namespace moebox::data
