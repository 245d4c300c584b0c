// cos and sin of a step's positions, shared by all layers.
#pragma once

#include "base/thread_team.h"
#include "models/linear.h"
#include "models/model.h"
#include "spec/rope.h"

namespace moebox {

class RopeTable {
 public:
  RopeTable(const RopeSpec& spec, int max_tokens);

  std::size_t size() const noexcept { return table_.size(); }  // bytes
  /// Fills this member's share of the tokens. A barrier must follow.
  void fill(const TeamMember& member, const Batch& batch) noexcept;
  const float* cos(int token) const noexcept {
    return table_.floats() + static_cast<std::ptrdiff_t>(token) * 2 * half_;
  }
  const float* sin(int token) const noexcept { return cos(token) + half_; }

 private:
  void fill_token(float* cos, float position, const float* inverse, float scale) const noexcept;

  RopeSpec spec_;
  RopeFrequencies frequencies_;
  int half_;
  AlignedBuffer table_;  // (max_tokens, 2, dim / 2)
};

}  // namespace moebox
