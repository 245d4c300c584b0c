#include "base/error.h"

#include <utility>

namespace moebox {
namespace {

std::string compose(const std::string& message, const std::string& where, const std::string& hint) {
  std::string text = where.empty() ? message : where + ": " + message;
  if (!hint.empty()) text += " (" + hint + ")";
  return text;
}

}  // namespace

Error::Error(ErrorKind kind, std::string message, std::string where, std::string hint)
    : std::runtime_error(compose(message, where, hint)),
      kind_(kind),
      message_(std::move(message)),
      where_(std::move(where)),
      hint_(std::move(hint)) {}

const char* name(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::invalid_argument:
      return "invalid_argument";
    case ErrorKind::invalid_file:
      return "invalid_file";
    case ErrorKind::unsupported:
      return "unsupported";
    case ErrorKind::not_found:
      return "not_found";
    case ErrorKind::io:
      return "io";
    case ErrorKind::network:
      return "network";
    case ErrorKind::resource:
      return "resource";
    case ErrorKind::cancelled:
      return "cancelled";
    case ErrorKind::internal:
      return "internal";
  }
  return "unknown";
}

}  // namespace moebox
