// Rules that tell text worth learning from what a crawl brings along. Sources: Rae et al. 2021, "Scaling language
// models" (Gopher, arXiv 2112.11446), section A.1.1 and table A1; Raffel et al. 2020 (C4, arXiv 1910.10683), section
// 2.2; for code: Li et al. 2023 (StarCoder, arXiv 2305.06161), section 3.
#pragma once

#include <string_view>

namespace moebox::data {

/// The first rule of prose that the text breaks, or nullptr:
///   too_short, too_long      below 50 or above 100,000 words
///   word_length              mean length of words below 3 or above 10 characters (of words between spaces)
///   symbols                  more than one # or ellipsis to ten words
///   bullets                  more than 90 % of the lines begin with a bullet
///   ellipses                 more than 30 % of the lines end with an ellipsis
///   few_letters              less than 80 % of the words have a letter
///   lorem_ipsum              that text
///   repeated_lines           30 % of the lines, or 20 % of the characters, are in lines that came before
///   repeated_paragraphs      the same of paragraphs
///   repeated_phrases         one phrase of 2, 3, 4 words makes up 20, 18, 16 % of the characters; or phrases of 5 to
///   10
///                            words that came before make up 15 to 10 %
const char* prose_problem(std::string_view text);

/// The same for source code: long_lines (one above 1,000 characters, or more than 100 on average), few_letters (less
/// than a quarter of the characters are letters or digits).
const char* code_problem(std::string_view text);

}  // namespace moebox::data
