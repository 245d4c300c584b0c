// The version of this build.
#pragma once

#include <string>
#include <string_view>

namespace moebox::cli {

/// "0.1.0"
std::string_view version_number();
/// "moebox 0.1.0 (x86-64, avx512)"
std::string version_line();

}  // namespace moebox::cli
