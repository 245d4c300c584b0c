#include "chat/text_stream.h"

#include <utility>

namespace moebox {

TextStream::TextStream(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stop_strings,
                       bool show_control)
    : decoder_(std::move(tokenizer), show_control), matcher_(std::move(stop_strings)) {}

TextStream::Piece TextStream::push(TokenId id) {
  if (!matched_.empty()) return {{}, true};
  return take(decoder_.push(id));
}

std::string TextStream::finish() {
  if (!matched_.empty()) return {};
  Piece piece = take(decoder_.finish());
  if (!piece.stopped) piece.text += std::exchange(held_, {});
  return std::move(piece.text);
}

TextStream::Piece TextStream::take(std::string fresh) {
  const std::size_t taken = matcher_.take(fresh);
  held_.append(fresh, 0, taken);
  Piece piece;
  if (const std::string* stop = matcher_.matched()) {
    matched_ = *stop;
    held_.resize(held_.size() - stop->size());
    piece = {std::exchange(held_, {}), true};
    return piece;
  }
  // A stop string may begin within a character only if it is invalid itself; then whole characters wait with it.
  std::size_t keep = matcher_.pending();
  while (keep < held_.size() && (static_cast<unsigned char>(held_[held_.size() - keep]) & 0xC0) == 0x80) ++keep;
  piece.text = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return piece;
}

}  // namespace moebox
