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
  std::string reasoning;  // the thinking of a model that does, apart from its answer
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

/// A new piece of an answer, or of the thinking before it.
using AnswerSink = std::function<void(std::string_view text, bool reasoning)>;

/// Generates; `begin` says how the answer begins, `on_text` is called with every new piece on this thread. A stopped
/// answer has the reason `cancelled`. Throws Error.
Answer generate(LanguageModel& model, TextRequest request, Reasoning begin, const AnswerControl& control,
                const AnswerSink& on_text);

const char* reason_name(FinishReason reason);
/// What `run --json` prints of it.
nlohmann::ordered_json answer_json(const Answer& answer);

}  // namespace moebox::cli
