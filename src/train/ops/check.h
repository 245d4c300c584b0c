// Operands that do not fit together are a mistake of the caller's, told before anything is written.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace moebox::train_ops {

/// Throws Error(invalid_argument) unless the two are equal. `what` says what both are: "columns of x and of the
/// weight".
inline void expect_equal(std::int64_t found, std::int64_t expected, const char* what) {
  if (found == expected) return;
  throw Error(ErrorKind::invalid_argument,
              std::string(what) + ": expected " + std::to_string(expected) + ", found " + std::to_string(found),
              "operands");
}

}  // namespace moebox::train_ops
