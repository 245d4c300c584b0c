#include "cli/answer_printer.h"

#include <string>

namespace moebox::cli {

void AnswerPrinter::out(std::string_view text) {
  if (text.empty()) return;
  console_.out(text);
  at_line_start_ = text.back() == '\n';
}

void AnswerPrinter::show(std::string_view text, bool reasoning) {
  if (!console_.output_is_terminal()) {
    if (!reasoning) out(text);
    return;
  }
  const bool marked = !console_.colour_output();
  if (reasoning && !in_reasoning_ && marked) out("<think>\n");
  if (!reasoning && in_reasoning_) out(marked ? "\n</think>\n\n" : "\n\n");
  in_reasoning_ = reasoning;
  const std::string safe = printable(text);
  out(reasoning ? console_.faint(safe) : safe);
}

void AnswerPrinter::finish() {
  if (!at_line_start_) out("\n");
}

}  // namespace moebox::cli
