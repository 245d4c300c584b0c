// Finding added tokens in a text.
#include "tokenizer/added_tokens.h"

#include <algorithm>

#include <fmt/core.h>

#include "base/error.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary.h"

namespace moebox {
namespace {

/// Where the character before `end` begins.
std::size_t previous_character(std::string_view text, std::size_t end) {
  do --end;
  while (utf8::is_continuation(text[end]));
  return end;
}

bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
  if (begin > 0 && unicode::is_word(utf8::decode(text.data() + previous_character(text, begin)))) return true;
  return end < text.size() && unicode::is_word(utf8::decode(text.data() + end));
}

}  // namespace

void TrustMap::append(std::size_t bytes, bool trusted) {
  if (bytes == 0) return;
  const std::size_t end = size() + bytes;
  const bool last_is_trusted = !ends_.empty() && ends_.size() % 2 == 0;
  if (ends_.empty()) {
    if (trusted) ends_.push_back(0);
    ends_.push_back(end);
  } else if (last_is_trusted == trusted) {
    ends_.back() = end;
  } else {
    ends_.push_back(end);
  }
}

bool TrustMap::all(bool trusted) const noexcept {
  if (size() == 0) return true;
  return trusted ? ends_.size() == 2 && ends_[0] == 0 : ends_.size() == 1;
}

bool TrustMap::covers(std::size_t begin, std::size_t end) const noexcept {
  const auto run = std::upper_bound(ends_.begin(), ends_.end(), begin);
  return run != ends_.end() && (run - ends_.begin()) % 2 == 1 && end <= *run;
}

TrustMap TrustMap::part(std::size_t begin, std::size_t end) const {
  TrustMap out;
  const auto first = std::upper_bound(ends_.begin(), ends_.end(), begin);
  for (auto i = static_cast<std::size_t>(first - ends_.begin()); i < ends_.size() && begin < end; ++i) {
    const std::size_t to = std::min(end, ends_[i]);
    out.append(to - begin, i % 2 == 1);
    begin = to;
  }
  return out;
}

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  for (const AddedToken& token : tokens_) {
    if (token.content.empty() || token.content.size() > limits::kAddedTokenBytes) {
      throw Error(ErrorKind::invalid_file,
                  fmt::format("the added token {} has {} bytes; expected 1 to {}", token.id, token.content.size(),
                              limits::kAddedTokenBytes),
                  "tokenizer");
    }
  }
  std::sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    return a.content != b.content ? a.content < b.content : a.id < b.id;
  });
  const auto same = [](const AddedToken& a, const AddedToken& b) { return a.content == b.content; };
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end(), same), tokens_.end());
  for (std::uint32_t i = 0; i < tokens_.size(); ++i) {
    Range& range = by_first_byte_[static_cast<unsigned char>(tokens_[i].content[0])];
    if (range.first == range.last) range.first = i;
    range.last = i + 1;
  }
}

const AddedToken* AddedTokenFinder::longest_at(std::string_view text, std::size_t at, const TrustMap& trust) const {
  auto [first, last] = by_first_byte_[static_cast<unsigned char>(text[at])];
  const AddedToken* longest = nullptr;
  const auto begin = tokens_.begin();
  // [first, last): the contents that agree with the text in the first `length` bytes; they are sorted, so a complete
  // one is the first.
  for (std::size_t length = 1; first < last; ++length) {
    const AddedToken& complete = tokens_[first];
    if (complete.content.size() == length) {
      if (!complete.control || trust.covers(at, at + length)) longest = &complete;
      ++first;
    }
    if (at + length >= text.size()) break;
    const auto byte = static_cast<unsigned char>(text[at + length]);
    const auto lower = std::lower_bound(begin + first, begin + last, byte, [&](const AddedToken& t, unsigned char b) {
      return static_cast<unsigned char>(t.content[length]) < b;
    });
    const auto upper = std::upper_bound(lower, begin + last, byte, [&](unsigned char b, const AddedToken& t) {
      return b < static_cast<unsigned char>(t.content[length]);
    });
    first = static_cast<std::uint32_t>(lower - begin);
    last = static_cast<std::uint32_t>(upper - begin);
  }
  return longest;
}

std::vector<AddedTokenFinder::Found> AddedTokenFinder::find(std::string_view text, const TrustMap& trust) const {
  std::vector<Found> found;
  std::size_t done = 0;
  std::size_t space_begin = 0, space_end = 0;  // white space that was walked through: not for every token in it again
  const auto end_of_space = [&](std::size_t from) {
    if (from >= space_begin && from < space_end) return space_end;
    space_begin = space_end = from;
    while (space_end < text.size() && unicode::is_whitespace(utf8::decode(text.data() + space_end)))
      space_end += static_cast<std::size_t>(utf8::length(text[space_end]));
    return space_end;
  };
  for (std::size_t at = 0; at < text.size();) {
    const Range range = by_first_byte_[static_cast<unsigned char>(text[at])];
    const AddedToken* token = range.first == range.last ? nullptr : longest_at(text, at, trust);
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at, end = at + token->content.size();
    at = end;
    if (token->single_word && touches_word(text, begin, end)) continue;
    while (token->strip_left && begin > done) {
      const std::size_t before = previous_character(text, begin);
      if (!unicode::is_whitespace(utf8::decode(text.data() + before))) break;
      begin = before;
    }
    if (token->strip_right) end = end_of_space(end);
    found.push_back({begin, end, token->id});
    done = end;  // and not `at`: the white space that a token took may hold another token, as in the reference
  }
  return found;
}

}  // namespace moebox
