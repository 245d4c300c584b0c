// The steps of a pre-tokenizer.
#include "tokenizer/pre_tokenizer.h"

#include <optional>
#include <utility>

#include "tokenizer/byte_level.h"

namespace moebox {

const char* const kGpt2Regex = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

/// Joins or drops segments as `behavior` says and gives what remains to `emit(begin, end)`.
template <class Emit>
class SegmentJoiner {
 public:
  SegmentJoiner(SplitBehavior behavior, Emit emit) : behavior_(behavior), emit_(std::move(emit)) {}

  void add(std::size_t begin, std::size_t end, bool is_match) {
    switch (behavior_) {
      case SplitBehavior::isolated:
        emit_(begin, end);
        return;
      case SplitBehavior::removed:
        if (!is_match) emit_(begin, end);
        return;
      case SplitBehavior::contiguous:
        if (waits_ && is_match == last_was_match_) {
          end_ = end;
        } else {
          hold(begin, end);
        }
        break;
      case SplitBehavior::merged_with_previous:
        if (waits_ && is_match && !last_was_match_) {
          end_ = end;
        } else {
          hold(begin, end);
        }
        break;
      case SplitBehavior::merged_with_next:
        if (waits_ && !is_match && last_was_match_) {
          end_ = end;
        } else {
          hold(begin, end);
        }
        break;
    }
    last_was_match_ = is_match;
  }
  void finish() {
    if (waits_) emit_(begin_, end_);
  }

 private:
  void hold(std::size_t begin, std::size_t end) {
    if (waits_) emit_(begin_, end_);
    begin_ = begin, end_ = end, waits_ = true;
  }

  SplitBehavior behavior_;
  Emit emit_;
  bool waits_ = false, last_was_match_ = false;
  std::size_t begin_ = 0, end_ = 0;
};

void split_by(const Pattern& pattern, SplitBehavior behavior, bool invert, std::string_view piece, SplitRun& run,
              std::size_t next) {
  SegmentJoiner joiner(behavior,
                       [&](std::size_t begin, std::size_t end) { run.emit(piece.substr(begin, end - begin), next); });
  for_each_segment(pattern, piece, run.budget(), [&](std::size_t begin, std::size_t end, bool is_match) {
    joiner.add(begin, end, is_match != invert);
  });
  joiner.finish();
}

class PatternStep final : public SplitStep {
 public:
  PatternStep(std::unique_ptr<Pattern> pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void split(std::string_view piece, SplitRun& run, std::size_t next) const override {
    split_by(*pattern_, behavior_, invert_, piece, run, next);
  }

 private:
  std::unique_ptr<Pattern> pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class PrefixSpaceStep final : public SplitStep {
 public:
  void split(std::string_view piece, SplitRun& run, std::size_t next) const override {
    if (piece.starts_with(' ')) return run.emit(piece, next);
    run.budget().produce(piece.size() + 1);
    std::string& longer = run.keep();
    longer.reserve(piece.size() + 1);
    longer.append(1, ' ').append(piece);
    run.emit(longer, next);
  }
};

class ByteCharactersStep final : public SplitStep {
 public:
  void split(std::string_view piece, SplitRun& run, std::size_t next) const override {
    std::string& spelled = run.keep();
    spelled = byte_level::to_characters(piece);
    run.budget().produce(spelled.size());
    run.emit(spelled, next);
  }
};

class MetaspaceStep final : public SplitStep {
 public:
  MetaspaceStep(std::string mark, PrependScheme scheme, bool split)
      : mark_(std::move(mark)), pattern_(literal_pattern(mark_)), scheme_(scheme), split_(split) {}

  void split(std::string_view piece, SplitRun& run, std::size_t next) const override {
    const bool first = run.take_start();
    const bool prepends = scheme_ == PrependScheme::always || (scheme_ == PrependScheme::first && first);
    std::string& marked = run.keep();
    marked.reserve(piece.size() + mark_.size());
    if (prepends && !piece.starts_with(' ') && !piece.starts_with(mark_)) marked.append(mark_);
    for (const char c : piece) {
      if (c == ' ') {
        marked.append(mark_);
      } else {
        marked.push_back(c);
      }
    }
    run.budget().produce(marked.size());
    if (!split_) return run.emit(marked, next);
    split_by(*pattern_, SplitBehavior::merged_with_next, false, marked, run, next);
  }

 private:
  std::string mark_;
  std::unique_ptr<Pattern> pattern_;
  PrependScheme scheme_;
  bool split_;
};

}  // namespace

CharSet number_characters() {
  CharSet set;
  set.add_categories(unicode::kNumber);
  set.add(0x11DE0, 0x11DE9);
  set.add(0x16FF4, 0x16FF6);
  return set;
}

std::unique_ptr<SplitStep> pattern_step(std::unique_ptr<Pattern> pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<PatternStep>(std::move(pattern), behavior, invert);
}
std::unique_ptr<SplitStep> prefix_space_step() { return std::make_unique<PrefixSpaceStep>(); }
std::unique_ptr<SplitStep> byte_characters_step() { return std::make_unique<ByteCharactersStep>(); }
std::unique_ptr<SplitStep> metaspace_step(std::string mark, PrependScheme scheme, bool split) {
  return std::make_unique<MetaspaceStep>(std::move(mark), scheme, split);
}

void PreTokenizer::split(std::string_view text, bool at_start, MatchBudget& budget, std::deque<std::string>& kept,
                         const Sink& sink) const {
  SplitRun run(steps_, at_start, budget, kept, sink);
  run.emit(text, 0);
}

}  // namespace moebox
