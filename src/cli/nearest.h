// "Did you mean ...?": the known word that is nearest to a misspelt one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moebox::cli {

/// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b` (optimal string alignment),
/// letters' case apart.
int edit_distance(std::string_view a, std::string_view b);

/// The nearest of `known`, or nothing when none is near enough to be what was meant (a third of the letters, at least
/// one).
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace moebox::cli
