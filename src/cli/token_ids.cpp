#include "cli/token_ids.h"

#include <algorithm>
#include <charconv>

#include <fmt/core.h>

#include "base/error.h"
#include "cli/console.h"

namespace moebox::cli {

std::vector<TokenId> parse_token_ids(std::string_view text, int vocab_size) {
  constexpr std::string_view separators = " \t\r\n,[]";
  std::vector<TokenId> ids;
  for (;;) {
    const auto first = text.find_first_not_of(separators);
    if (first == std::string_view::npos) return ids;
    const std::string_view word =
        text.substr(first, std::min(text.find_first_of(separators, first), text.size()) - first);
    TokenId id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size() || id < 0 || id >= vocab_size) {
      throw Error(
          ErrorKind::invalid_argument,
          fmt::format("expected integers from 0 to {}, found '{}'", vocab_size - 1, printable(word.substr(0, 40))),
          "token ids");
    }
    ids.push_back(id);
    text.remove_prefix(first + word.size());
  }
}

}  // namespace moebox::cli
