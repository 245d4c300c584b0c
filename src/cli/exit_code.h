// What the process returns to the shell. docs/cli.md has the same table for users.
#pragma once

#include "base/error.h"

namespace moebox::cli {

enum ExitCode : int {
  exit_ok = 0,
  exit_internal = 1,     // a bug in moebox
  exit_usage = 2,        // an option, argument or setting that is not right
  exit_not_found = 3,    // a file or model that is not there
  exit_bad_file = 4,     // a file that does not hold together
  exit_unsupported = 5,  // something that moebox does not implement
  exit_network = 6,
  exit_resource = 7,  // memory, time or another limit
  exit_io = 8,        // the operating system refused
  exit_interrupted = 130,
};

constexpr ExitCode exit_code(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::invalid_argument:
      return exit_usage;
    case ErrorKind::invalid_file:
      return exit_bad_file;
    case ErrorKind::unsupported:
      return exit_unsupported;
    case ErrorKind::not_found:
      return exit_not_found;
    case ErrorKind::io:
      return exit_io;
    case ErrorKind::network:
      return exit_network;
    case ErrorKind::resource:
      return exit_resource;
    case ErrorKind::cancelled:
      return exit_interrupted;
    case ErrorKind::internal:
      return exit_internal;
  }
  return exit_internal;
}

}  // namespace moebox::cli
