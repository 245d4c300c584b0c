// An answer on the terminal, or in a pipe, as it comes.
#pragma once

#include <string_view>

#include "cli/console.h"

namespace moebox::cli {

/// Shows an answer as it comes: thinking is dimmed, or between its markers where there is no colour, and is left out
/// where stdout is no terminal: who reads it there wants the answer.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(const Console& console) : console_(console) {}
  void show(std::string_view text, bool reasoning);
  /// Ends the line.
  void finish();

 private:
  void out(std::string_view text);

  const Console& console_;
  bool at_line_start_ = true, in_reasoning_ = false;
};

}  // namespace moebox::cli
