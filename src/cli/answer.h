// One answer of a model: submitted, streamed to the caller's thread, stopped by Ctrl-C, and counted.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "cli/interrupts.h"
#include "cli/line_editor.h"
#include "language_model/language_model.h"

namespace moebox::cli {

struct Answer {
  std::string text;
  FinishReason reason = FinishReason::stop;
  std::string matched_stop;
  GenerationStats stats;

  double prefill_tokens_per_second() const;
  /// Of the tokens after the first one.
  double decode_tokens_per_second() const;
};

/// Who may stop an answer, and what is typed meanwhile.
struct AnswerControl {
  InterruptGuard& interrupts;
  RawMode* raw = nullptr;        // a terminal whose keys are watched: Ctrl-C stops, Ctrl-Z suspends, the rest is
  std::string* typed = nullptr;  // kept here
};

/// Generates; `on_text` is called with every new piece on this thread. A stopped answer has the reason `cancelled`.
/// Throws Error.
Answer generate(LanguageModel& model, TextRequest request, const AnswerControl& control,
                const std::function<void(std::string_view)>& on_text);

const char* reason_name(FinishReason reason);
/// What `run --json` prints of it.
nlohmann::ordered_json answer_json(const Answer& answer);

}  // namespace moebox::cli
