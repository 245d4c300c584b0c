// What goes wrong on the way to another machine: an Error of kind network that says whether trying again can help.
#pragma once

#include <string>
#include <utility>

#include "base/error.h"

namespace moebox {

class NetworkError : public Error {
 public:
  NetworkError(std::string message, std::string where, bool retryable, std::string hint = {})
      : Error(ErrorKind::network, std::move(message), std::move(where), std::move(hint)), retryable_(retryable) {}

  /// True for what passes by itself (a lost connection, a timeout); false for what does not (a bad certificate,
  /// nonsense).
  bool retryable() const noexcept { return retryable_; }

 private:
  bool retryable_;
};

}  // namespace moebox
