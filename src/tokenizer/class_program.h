// What class_regex.cpp compiles an expression into; the matcher runs it.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <vector>

#include "tokenizer/pattern.h"

namespace moebox {

/// A step of a compiled expression.
struct ClassNode {
  static constexpr std::uint32_t unbounded = std::numeric_limits<std::uint32_t>::max();

  enum class Kind { accept, set, branch, look_ahead, line_end };
  Kind kind = Kind::accept;
  const CharSet* set = nullptr;              // set, look_ahead
  bool negative = false;                     // look_ahead
  std::uint32_t min = 1, max = 1;            // set
  std::vector<const ClassNode*> branches{};  // branch, by priority
  const ClassNode* next = nullptr;           // set, look_ahead, line_end
};

/// What a compiled expression owns. Addresses are stable.
struct ClassProgram {
  std::deque<ClassNode> nodes;
  std::deque<CharSet> sets;
  const ClassNode* start = nullptr;
};

/// `program` has a start.
std::unique_ptr<Pattern> make_class_pattern(ClassProgram program);

}  // namespace moebox
