// The conversation at a terminal: prompt, commands, answers.
#pragma once

#include <string>
#include <vector>

#include "cli/context.h"
#include "language_model/language_model.h"

namespace moebox::cli {

struct ChatOptions {
  std::string model_name;
  std::vector<std::string> stop_strings;
  bool raw = false;      // every line is a text to go on with: no template, no memory
  bool special = false;  // special tokens written in a raw text count
  std::string load;      // a saved conversation to begin with
};

/// Talks until /bye, Ctrl-D or the end of the input. Returns the exit code.
int chat(Context& context, LanguageModel& model, const ChatOptions& options);

/// The line of figures that follows an answer.
struct Answer;
void print_figures(const Context& context, const Answer& answer);

}  // namespace moebox::cli
