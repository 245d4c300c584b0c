// Which language a text is in, by CLD2 (Compact Language Detector 2: quadgrams, Chinese and Japanese by characters).
#pragma once

#include <string>
#include <string_view>

namespace moebox::data {

struct DetectedLanguage {
  std::string code;  // ISO 639-1: "en", "zh" (both scripts); "un" where it cannot be told
  double share = 0;  // of the text's bytes that are in it, 0 to 1
  bool reliable = false;
};

/// `text` is valid UTF-8. Safe to call from many threads.
DetectedLanguage detect_language(std::string_view text);

}  // namespace moebox::data
