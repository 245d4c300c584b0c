// How many tokens of prompts a step computes beside running answers, so that these keep their pace while a long prompt
// arrives. It decides about time only: no token depends on it.
#pragma once

#include <array>

namespace moebox {

class PromptPacer {
 public:
  struct Limits {
    int most_tokens;  // of prompts in a step, in any case
    double slowdown;  // a step beside answers may take so many times as long as one without a prompt; above 1
  };
  explicit PromptPacer(Limits limits) noexcept : limits_(limits) { paces_.fill(Pace{}); }

  /// Tokens of prompts that the next step may compute beside the next token of each of `n_answers`; 0 where it is to
  /// be measured what a step takes without.
  int tokens(int n_answers) noexcept;
  /// A step with so many answers and prompt tokens has taken so long.
  void step_took(int n_answers, int n_prompt_tokens, double ms) noexcept;

 private:
  // Steps of one, two to three, four to seven ... answers.
  struct Pace {
    double quiet_ms = 0;   // of a step without prompt tokens; 0: not known
    double share = 16;     // prompt tokens of a step
    int n_unmeasured = 0;  // steps since one without prompt tokens
  };
  Pace& pace_of(int n_answers) noexcept;

  Limits limits_;
  std::array<Pace, 17> paces_;
};

}  // namespace moebox
