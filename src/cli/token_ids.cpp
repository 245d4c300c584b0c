#include "cli/token_ids.h"

#include <algorithm>
#include <charconv>

#include <fmt/core.h>

#include "base/error.h"
#include "cli/console.h"

namespace moebox::cli {
namespace {

/// "token ids, line 2, column 7": where the byte `at` is.
std::string place_of(std::string_view text, std::size_t at) {
  const std::string_view before = text.substr(0, at);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const auto last_feed = before.rfind('\n');
  const std::size_t column = last_feed == std::string_view::npos ? at + 1 : at - last_feed;
  return fmt::format("token ids, line {}, column {}", line, column);
}

}  // namespace

std::vector<TokenId> parse_token_ids(std::string_view text, int vocab_size) {
  constexpr std::string_view blanks = " \t\r\n[]";
  constexpr std::string_view separators = " \t\r\n[],";
  const auto refuse = [&](std::size_t at, std::string_view found) {
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected integers from 0 to {}, found {}", vocab_size - 1, found), place_of(text, at));
  };
  std::vector<TokenId> ids;
  std::size_t open_comma = std::string_view::npos;  // one that no id has followed yet
  bool after_id = false;
  for (std::size_t at = text.find_first_not_of(blanks); at < text.size(); at = text.find_first_not_of(blanks, at)) {
    if (text[at] == ',') {
      if (!after_id) refuse(at, "nothing before the comma");
      after_id = false;
      open_comma = at++;
      continue;
    }
    const std::string_view word = text.substr(at, std::min(text.find_first_of(separators, at), text.size()) - at);
    TokenId id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size() || id < 0 || id >= vocab_size)
      refuse(at, fmt::format("'{}'", printable(word.substr(0, 40))));
    ids.push_back(id);
    after_id = true;
    open_comma = std::string_view::npos;
    at += word.size();
  }
  if (open_comma != std::string_view::npos) refuse(open_comma, "nothing after the comma");
  return ids;
}

}  // namespace moebox::cli
