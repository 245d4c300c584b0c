// A model's thinking apart from its answer, by the markers that its chat template knows: <think> ... </think>.
#pragma once

#include <string>
#include <string_view>

namespace moebox {

/// How an answer begins.
enum class Reasoning {
  none,      // the model's template knows of no thinking: its text is left alone
  by_model,  // the answer thinks first if it begins with <think>
  open,      // the prompt ends with <think>: the answer begins within the thinking
  closed,    // the prompt ends with </think>: no thinking is wanted
};

/// How an answer begins after a prompt of which `prompt_end` are the last bytes, by a model with this template.
Reasoning reasoning_after(std::string_view template_source, std::string_view prompt_end);

/// Divides one answer as it comes. Blanks around the thinking belong to neither part.
class ReasoningSplitter {
 public:
  explicit ReasoningSplitter(Reasoning begin);

  struct Parts {
    std::string reasoning, answer;
  };
  /// The text of one token, which may be empty. What may still become a marker is held back.
  Parts push(std::string_view text);
  /// After the last token: the text that the decoder had held back, and what was held back here. An answer that ends
  /// within its thinking has no other text.
  Parts finish(std::string_view rest);
  /// Tokens of the thinking so far, the one that completes </think> included.
  int n_reasoning_tokens() const noexcept { return n_reasoning_tokens_; }

 private:
  enum class State { beginning, reasoning, before_answer, answer };

  void take(Parts& parts);
  bool leave_beginning();
  void take_reasoning(Parts& parts);

  Reasoning begin_;
  State state_;
  std::string held_;
  bool reasoning_begun_ = false;
  int n_reasoning_tokens_ = 0, n_undecided_tokens_ = 0;
};

}  // namespace moebox
