// Where drafts come from, and how long they may be.
#pragma once

namespace moebox {

/// Where drafts of the next tokens come from. They change no token and no bit of an answer, only its speed.
enum class Speculation {
  off,
  ngram,  // what followed the same tokens earlier, in prompt or answer
  mtp,    // what the model's layer for multi-token prediction says (ModelOptions::draft_layer)
  draft,  // what a second, smaller model says
};

/// Whether drafts are computed at the end of a step, for the next one; others are looked up when that begins.
constexpr bool is_computed(Speculation source) { return source == Speculation::mtp || source == Speculation::draft; }

constexpr int max_draft_tokens = 64;
/// Of those, what the layer for multi-token prediction, which is made to guess one, is asked for.
constexpr int max_mtp_draft_tokens = 4;

}  // namespace moebox
