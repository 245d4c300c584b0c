#include "chat/reasoning.h"

#include <algorithm>
#include <utility>

namespace moebox {
namespace {

constexpr std::string_view opening = "<think>", closing = "</think>";
constexpr std::string_view blanks = " \t\r\n";

std::string_view without_blanks_before(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(blanks), text.size()));
}

std::string_view without_blanks_behind(std::string_view text) {
  const auto last = text.find_last_not_of(blanks);
  return last == std::string_view::npos ? std::string_view() : text.substr(0, last + 1);
}

/// Bytes at the end of `text` that may be the beginning of the closing marker, and the blanks before them.
std::size_t held_bytes(std::string_view text) {
  std::size_t n = std::min(text.size(), closing.size() - 1);
  while (!closing.starts_with(text.substr(text.size() - n))) --n;
  return text.size() - without_blanks_behind(text.substr(0, text.size() - n)).size();
}

}  // namespace

Reasoning reasoning_after(std::string_view template_source, std::string_view prompt_end) {
  if (template_source.find(closing) == std::string_view::npos) return Reasoning::none;
  const std::string_view end = without_blanks_behind(prompt_end);
  if (end.ends_with(closing)) return Reasoning::closed;
  return end.ends_with(opening) ? Reasoning::open : Reasoning::by_model;
}

ReasoningSplitter::ReasoningSplitter(Reasoning begin)
    : begin_(begin),
      state_(begin == Reasoning::none || begin == Reasoning::closed ? State::answer : State::beginning) {}

ReasoningSplitter::Parts ReasoningSplitter::push(std::string_view text) {
  if (state_ == State::reasoning) ++n_reasoning_tokens_;
  if (state_ == State::beginning) ++n_undecided_tokens_;
  Parts parts;
  held_ += text;
  take(parts);
  return parts;
}

ReasoningSplitter::Parts ReasoningSplitter::finish(std::string_view rest) {
  Parts parts;
  held_ += rest;
  take(parts);
  if (state_ == State::beginning) state_ = begin_ == Reasoning::open ? State::reasoning : State::answer;
  if (state_ == State::reasoning) {
    parts.reasoning += without_blanks_behind(held_);
    n_reasoning_tokens_ += std::exchange(n_undecided_tokens_, 0);
  } else {
    parts.answer += held_;
  }
  held_.clear();
  return parts;
}

void ReasoningSplitter::take(Parts& parts) {
  if (state_ == State::beginning && !leave_beginning()) return;
  if (state_ == State::reasoning) take_reasoning(parts);
  if (state_ == State::before_answer) {
    held_.erase(0, held_.size() - without_blanks_before(held_).size());
    if (!held_.empty()) state_ = State::answer;
  }
  if (state_ == State::answer) parts.answer += std::exchange(held_, {});
}

/// False as long as the text may still be blanks and an opening marker. A prompt that has opened the thinking does not
/// keep every model from writing the marker once more.
bool ReasoningSplitter::leave_beginning() {
  const std::string_view text = without_blanks_before(held_);
  if (text.size() < opening.size() && opening.starts_with(text)) return false;
  const bool marked = text.starts_with(opening);
  if (!marked && begin_ != Reasoning::open) {
    state_ = State::answer;
    return true;
  }
  state_ = State::reasoning;
  n_reasoning_tokens_ += std::exchange(n_undecided_tokens_, 0);
  held_ = std::string(marked ? text.substr(opening.size()) : text);
  return true;
}

void ReasoningSplitter::take_reasoning(Parts& parts) {
  if (!reasoning_begun_) held_.erase(0, held_.size() - without_blanks_before(held_).size());
  reasoning_begun_ |= !held_.empty();
  const auto end = held_.find(closing);
  const std::size_t n = end == std::string::npos ? held_.size() - held_bytes(held_) : end;
  const std::string_view text = std::string_view(held_).substr(0, n);
  parts.reasoning += end == std::string::npos ? text : without_blanks_behind(text);
  if (end != std::string::npos) state_ = State::before_answer;
  held_.erase(0, end == std::string::npos ? n : end + closing.size());
}

}  // namespace moebox
