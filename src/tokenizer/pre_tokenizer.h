// What cuts a text into pieces that are encoded by themselves: tokenizer.json's "pre_tokenizer", and the ones that GGUF
// names.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/pattern.h"

namespace moebox {

/// What becomes of matches (Hugging Face's names).
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// Where a Metaspace puts its mark before a piece that does not begin with one.
enum class PrependScheme { always, first, never };

/// One text on its way through the steps.
class SplitRun;

class SplitStep {
 public:
  virtual ~SplitStep() = default;
  /// Gives the parts of `piece` to `run.emit(part, next)`.
  virtual void split(std::string_view piece, SplitRun& run, std::size_t next) const = 0;
};

std::unique_ptr<SplitStep> pattern_step(std::unique_ptr<Pattern> pattern, SplitBehavior behavior, bool invert);
/// Puts a space before a piece that does not begin with one.
std::unique_ptr<SplitStep> prefix_space_step();
/// Spells a piece by GPT-2's byte map.
std::unique_ptr<SplitStep> byte_characters_step();
/// Spaces become `mark`, one is put in front, and pieces begin at marks when `split`.
std::unique_ptr<SplitStep> metaspace_step(std::string mark, PrependScheme scheme, bool split);

/// Every character that is a number: by Unicode 17, which the reference uses here (and Unicode 16 in its regular
/// expressions).
CharSet number_characters();

/// The regular expression of GPT-2, which ByteLevel uses.
extern const char* const kGpt2Regex;

class PreTokenizer {
 public:
  PreTokenizer() = default;
  explicit PreTokenizer(std::vector<std::unique_ptr<SplitStep>> steps) : steps_(std::move(steps)) {}

  using Sink = std::function<void(std::string_view)>;
  /// Gives the pieces of `text` to `sink`, in order; none is empty. `at_start`: nothing stands before this text. Pieces
  /// are views into `text` or into strings that are added to `kept`.
  void split(std::string_view text, bool at_start, MatchBudget& budget, std::deque<std::string>& kept,
             const Sink& sink) const;

 private:
  std::vector<std::unique_ptr<SplitStep>> steps_;
};

class SplitRun {
 public:
  SplitRun(const std::vector<std::unique_ptr<SplitStep>>& steps, bool at_start, MatchBudget& budget,
           std::deque<std::string>& kept, const PreTokenizer::Sink& sink)
      : steps_(steps), at_start_(at_start), budget_(budget), kept_(kept), sink_(sink) {}

  /// Gives a part to step `step`, or to the sink after the last.
  void emit(std::string_view part, std::size_t step) {
    if (part.empty()) return;
    if (step == steps_.size()) {
      sink_(part);
    } else {
      steps_[step]->split(part, *this, step + 1);
    }
  }
  /// A string that lives as long as the pieces are needed.
  std::string& keep() { return kept_.emplace_back(); }
  MatchBudget& budget() { return budget_; }
  /// True for the first call in a text at the start.
  bool take_start() { return std::exchange(at_start_, false); }

 private:
  const std::vector<std::unique_ptr<SplitStep>>& steps_;
  bool at_start_;
  MatchBudget& budget_;
  std::deque<std::string>& kept_;
  const PreTokenizer::Sink& sink_;
};

}  // namespace moebox
