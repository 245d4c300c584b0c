// The matcher of compiled expressions: backtracking with Oniguruma's priorities; no loops around groups, so a match
// costs a polynomial of a degree that the expression shows, and the budget bounds it.
#include "tokenizer/class_program.h"

#include <array>
#include <utility>

#include "tokenizer/utf8.h"

namespace moebox {
namespace {

/// Matches at one place of a text.
class Matcher {
 public:
  Matcher(std::string_view text, MatchBudget& budget) : end_(text.data() + text.size()), budget_(budget) {}

  /// The end of the match of `node` and what follows it at `at`, or nullptr.
  const char* run(const ClassNode* node, const char* at) {
    for (;;) {
      switch (node->kind) {
        case ClassNode::Kind::accept:
          return at;
        case ClassNode::Kind::line_end:
          if (at != end_ && *at != '\n') return nullptr;
          break;
        case ClassNode::Kind::look_ahead:
          if ((at != end_ && node->set->contains(utf8::decode(at))) == node->negative) return nullptr;
          break;
        case ClassNode::Kind::branch: {
          for (const ClassNode* branch : node->branches) {
            count_steps(1);
            if (const char* found = run(branch, at)) return found;
          }
          return nullptr;
        }
        case ClassNode::Kind::set: {
          std::uint32_t count = 0;
          const char* stop = take(*node->set, at, node->max, count);
          if (count < node->min) return nullptr;
          if (node->next->kind == ClassNode::Kind::accept) return stop;
          if (node->min == node->max) {
            at = stop;
            break;
          }
          for (;; --count) {  // the longest first, then give back a character at a time
            if (const char* found = run(node->next, stop)) return found;
            if (count == node->min) return nullptr;
            do --stop;
            while (utf8::is_continuation(*stop));
            count_steps(1);
          }
        }
      }
      node = node->next;
    }
  }

  /// Charges what has been counted so far.
  void settle() { budget_.spend(std::exchange(steps_, 0)); }

 private:
  void count_steps(std::uint64_t steps) {
    steps_ += steps;
    if (steps_ > 4096) settle();
  }

  const char* take(const CharSet& set, const char* at, std::uint32_t max, std::uint32_t& count) {
    while (count < max && at != end_) {
      const auto byte = static_cast<unsigned char>(*at);
      if (byte < 0x80) {
        if (!set.has_ascii(byte)) break;
        ++at;
      } else {
        if (!set.contains(utf8::decode(at))) break;
        at += utf8::length(*at);
      }
      ++count;
    }
    count_steps(count + 1);
    return at;
  }

  const char* end_;
  MatchBudget& budget_;
  std::uint64_t steps_ = 0;
};

/// Which bytes a match can begin with.
using FirstBytes = std::array<bool, 256>;

/// Adds the bytes that `node` can begin with; false when it may match nothing (then any byte is possible).
bool add_first(const ClassNode* node, FirstBytes& first) {
  switch (node->kind) {
    case ClassNode::Kind::accept:
    case ClassNode::Kind::look_ahead:
    case ClassNode::Kind::line_end:
      return false;
    case ClassNode::Kind::branch: {
      bool consumes = true;
      for (const ClassNode* branch : node->branches) consumes &= add_first(branch, first);
      return consumes;
    }
    case ClassNode::Kind::set:
      break;
  }
  for (unsigned c = 0; c < 0x80; ++c) first[c] |= node->set->has_ascii(static_cast<unsigned char>(c));
  if (node->set->may_have_wide()) {
    for (unsigned c = 0x80; c < 0x100; ++c) first[c] = true;
  }
  return node->min > 0 || add_first(node->next, first);
}

class ClassPattern final : public Pattern {
 public:
  explicit ClassPattern(ClassProgram program) : program_(std::move(program)) {
    branches_ = program_.start->kind == ClassNode::Kind::branch ? program_.start->branches
                                                                : std::vector<const ClassNode*>{program_.start};
    if (branches_.size() > 32) branches_ = {program_.start};
    for (std::size_t i = 0; i < branches_.size(); ++i) {
      FirstBytes first{};
      const bool consumes = add_first(branches_[i], first);
      for (unsigned c = 0; c < 256; ++c) {
        if (first[c] || !consumes) candidates_[c] |= std::uint32_t{1} << i;
      }
      if (!consumes) at_end_ = true;
    }
  }

  std::optional<Match> find(std::string_view text, std::size_t from, MatchBudget& budget) const override {
    Matcher matcher(text, budget);
    const char* const end = text.data() + text.size();
    for (const char* at = text.data() + from; at != end; at += utf8::length(*at)) {
      for (std::uint32_t left = candidates_[static_cast<unsigned char>(*at)]; left != 0; left &= left - 1) {
        const char* stop = matcher.run(branches_[static_cast<unsigned>(__builtin_ctz(left))], at);
        if (stop == nullptr) continue;
        matcher.settle();
        return Match{static_cast<std::size_t>(at - text.data()), static_cast<std::size_t>(stop - text.data())};
      }
    }
    matcher.settle();
    if (at_end_ && matcher.run(program_.start, end) != nullptr) return Match{text.size(), text.size()};
    return std::nullopt;
  }

 private:
  ClassProgram program_;
  std::vector<const ClassNode*> branches_;       // the alternatives
  std::array<std::uint32_t, 256> candidates_{};  // by the first byte: which of them can match
  bool at_end_ = false;                          // an empty match is possible
};

}  // namespace

std::unique_ptr<Pattern> make_class_pattern(ClassProgram program) {
  return std::make_unique<ClassPattern>(std::move(program));
}

}  // namespace moebox
