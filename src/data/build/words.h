// Words of a text as filters count them: what stands between white space; characters of scripts that are written
// without spaces (Chinese, Japanese, Thai ...) each by itself.
#pragma once

#include <string_view>
#include <vector>

namespace moebox::data {

/// Views of `text`, which is valid UTF-8.
std::vector<std::string_view> words_of(std::string_view text);

/// Whether the character is written without spaces between words.
bool is_word_by_itself(char32_t character) noexcept;

}  // namespace moebox::data
