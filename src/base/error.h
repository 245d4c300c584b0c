// The one exception type of moebox. It says what was expected, what was found, where, and what to do.
#pragma once

#include <stdexcept>
#include <string>

namespace moebox {

/// What kind of thing went wrong; callers map it to an exit code or an HTTP status.
enum class ErrorKind {
  invalid_argument,  // the caller's input: an option, a request, a setting
  invalid_file,      // a model, tokenizer or configuration file that does not hold together
  unsupported,       // well formed, but something moebox does not implement
  not_found,         // a file, model, tensor or key that is not there
  io,                // the operating system refused
  network,           // the other side refused, vanished or lied
  resource,          // memory, queue, time or another limit
  cancelled,         // the user or a shutdown stopped it
  internal,          // a bug in moebox
};

/// `message` says what was expected and found; `where` names file, tensor, field or line; `hint` says what to do.
class Error : public std::runtime_error {
 public:
  explicit Error(ErrorKind kind, std::string message, std::string where = {}, std::string hint = {});

  ErrorKind kind() const noexcept { return kind_; }
  const std::string& message() const noexcept { return message_; }
  const std::string& where() const noexcept { return where_; }
  const std::string& hint() const noexcept { return hint_; }

 private:
  ErrorKind kind_;
  std::string message_, where_, hint_;
};

/// "invalid_file" and so on, for logs.
const char* name(ErrorKind kind) noexcept;

}  // namespace moebox
