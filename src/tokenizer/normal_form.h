// Unicode normal forms and lower case, as Hugging Face tokenizers compute them.
#pragma once

#include <string>
#include <string_view>

namespace moebox {

enum class NormalForm { nfc, nfd, nfkc, nfkd };

/// Appends the normal form of `text` (valid UTF-8) to `out` and returns true; or returns false, `out` untouched, when
/// `text` is already normal. Linear time but for sorting runs of combining marks. Characters that Hugging Face's tables
/// (Unicode 9) do not know yet stay as they are and nothing combines across them. Source: Unicode Standard Annex 15.
bool normalize(std::string_view text, NormalForm form, std::string& out);

/// Is `c` a character that Hugging Face's tables do not know yet, and so neither a mark nor composed?
bool younger_than_reference(char32_t c) noexcept;

/// Appends `text` with every character in lower case, by itself (no final sigma, no language).
void append_lower_case(std::string_view text, std::string& out);

}  // namespace moebox
