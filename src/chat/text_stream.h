// Ids -> text as they come, with stop strings that may begin in one token and end in another.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "chat/stop_matcher.h"
#include "tokenizer/tokenizer.h"

namespace moebox {

/// Text that may be shown: never half a character, never the beginning of a stop string that may still complete.
class TextStream {
 public:
  /// Empty stop strings are an Error(invalid_argument).
  TextStream(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stop_strings,
             bool show_control = false);

  struct Piece {
    std::string text;      // new text to show; without the stop string
    bool stopped = false;  // a stop string completed: nothing more will come
  };
  /// After a stop string completed, gives nothing more.
  Piece push(TokenId id);
  /// The held-back rest when generation ended for another reason than a stop string; it may still hold a stop string
  /// that only the end of an unfinished character completes, and then ends before it.
  std::string finish();
  /// The stop string that ended the text, or empty.
  const std::string& matched_stop() const noexcept { return matched_; }

 private:
  Piece take(std::string fresh);

  StreamDecoder decoder_;
  StopMatcher matcher_;
  std::string held_;  // decoded, but perhaps the beginning of a stop string
  std::string matched_;
};

}  // namespace moebox
