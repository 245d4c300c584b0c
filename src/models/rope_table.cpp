#include "models/rope_table.h"

#include <cmath>

namespace moebox {

RopeTable::RopeTable(const RopeSpec& spec, int max_tokens)
    : spec_(spec),
      frequencies_(rope_frequencies(spec)),
      half_(spec.dim / 2),
      table_(static_cast<std::size_t>(max_tokens) * static_cast<std::size_t>(spec.dim) * sizeof(float)) {}

void RopeTable::fill(const TeamMember& member, const Batch& batch) noexcept {
  for (const BatchSpan& span : batch.spans) {
    const auto part = member.part(span.n_tokens);
    for (int t = part.first; t < part.last; ++t) {
      float* cos = table_.floats() + static_cast<std::ptrdiff_t>(span.first_token + t) * 2 * half_;
      const int position = span.first_position + t;
      if (depends_on_position(spec_) && position >= spec_.original_context) {
        // A step allocates nothing: the frequencies stand where each one's sine will.
        write_rope_frequencies(spec_, position, {cos + half_, static_cast<std::size_t>(half_)});
        fill_token(cos, static_cast<float>(position), cos + half_, frequencies_.attention_scale);
      } else {
        fill_token(cos, static_cast<float>(position), frequencies_.inverse.data(), frequencies_.attention_scale);
      }
    }
  }
}

void RopeTable::fill_token(float* cos, float position, const float* inverse, float scale) const noexcept {
  for (int i = 0; i < half_; ++i) {
    // The angle is a float product, as transformers computes it; its cosine is computed in double and rounded once.
    const double angle = position * inverse[i];
    cos[i] = static_cast<float>(std::cos(angle)) * scale;
    cos[half_ + i] = static_cast<float>(std::sin(angle)) * scale;
  }
}

}  // namespace moebox
