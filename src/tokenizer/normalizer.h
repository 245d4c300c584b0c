// What changes a text before it is split: tokenizer.json's "normalizer".
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/normal_form.h"
#include "tokenizer/pattern.h"

namespace moebox {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Appends what becomes of `text` (valid UTF-8) to `out` and returns true; or returns false, `out` untouched, when it
  /// stays as it is.
  virtual bool apply(std::string_view text, std::string& out, MatchBudget& budget) const = 0;
};

std::unique_ptr<Normalizer> form_normalizer(NormalForm form);
std::unique_ptr<Normalizer> lower_case_normalizer();
/// Replaces every match of `pattern`.
std::unique_ptr<Normalizer> replace_normalizer(std::unique_ptr<Pattern> pattern, std::string replacement);
/// Puts `prefix` before a text that is not empty.
std::unique_ptr<Normalizer> prepend_normalizer(std::string prefix);
/// Removes white space at the ends.
std::unique_ptr<Normalizer> strip_normalizer(bool left, bool right);
/// Removes combining marks.
std::unique_ptr<Normalizer> strip_accents_normalizer();
std::unique_ptr<Normalizer> normalizer_sequence(std::vector<std::unique_ptr<Normalizer>> normalizers);

}  // namespace moebox
