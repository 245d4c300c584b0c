// How many tokens a measurement takes where a model's context is short.
#pragma once

#include <optional>

namespace moebox::cli {

/// What `option` says; where it was not given, `usual` or as much of it as `most` allows.
/// Throws Error(invalid_argument) that names the option when it says more than `most`.
int measured_tokens(const char* option, std::optional<int> asked, int usual, int most);

}  // namespace moebox::cli
