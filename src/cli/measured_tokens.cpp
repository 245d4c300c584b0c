#include "cli/measured_tokens.h"

#include <algorithm>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox::cli {

int measured_tokens(const char* option, std::optional<int> asked, int usual, int most) {
  if (asked && *asked > most)
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected at most {}, which fill the model's context, found {}", most, *asked), option);
  return asked.value_or(std::min(usual, most));
}

}  // namespace moebox::cli
