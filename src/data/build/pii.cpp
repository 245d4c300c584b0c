#include "data/build/pii.h"

#include <algorithm>
#include <optional>

namespace moebox::data {
namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_letter_or_digit(char c) noexcept { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_local_part(char c) noexcept {
  return is_letter_or_digit(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-';
}
bool is_host(char c) noexcept { return is_letter_or_digit(c) || c == '.' || c == '-'; }

struct Find {
  std::size_t begin, end;
  PiiKind kind;
};

/// A row of digits with single separators in between, and the place behind it.
struct DigitRun {
  std::string digits;
  std::size_t end = 0;
  int n_groups = 1;
};

/// At most `most` digits from `at` on; blanks, hyphens and, where `dots`, dots may stand between groups.
DigitRun read_digits(std::string_view text, std::size_t at, std::size_t most, bool dots) {
  DigitRun run;
  std::size_t i = at;
  while (i < text.size() && run.digits.size() < most) {
    if (is_digit(text[i])) {
      run.digits += text[i++];
      run.end = i;
    } else if (!run.digits.empty() && (text[i] == ' ' || text[i] == '-' || (dots && text[i] == '.')) && i == run.end &&
               i + 1 < text.size() && is_digit(text[i + 1])) {
      ++i;
      ++run.n_groups;
    } else {
      break;
    }
  }
  return run;
}

/// Whether a number may begin here: nothing of it stands before.
bool begins_number(std::string_view text, std::size_t at) {
  if (at == 0) return true;
  const char before = text[at - 1];
  return !is_letter_or_digit(before) && before != '_' &&
         !((before == '.' || before == '-') && at > 1 && is_digit(text[at - 2]));
}

bool ends_number(std::string_view text, std::size_t at) {
  return at >= text.size() || (!is_letter_or_digit(text[at]) && text[at] != '_');
}

std::optional<Find> find_identity_number(std::string_view text, std::size_t at) {
  if (at + 18 > text.size() || !ends_number(text, at + 18) || !is_identity_number(text.substr(at, 18)))
    return std::nullopt;
  return Find{at, at + 18, PiiKind::identity_number};
}

std::optional<Find> find_card(std::string_view text, std::size_t at) {
  const DigitRun run = read_digits(text, at, 20, false);
  const std::size_t n = run.digits.size();
  if (n < 13 || n > 19 || run.digits[0] < '3' || run.digits[0] > '6' || !ends_number(text, run.end))
    return std::nullopt;
  if (run.n_groups > 1 && (run.n_groups < 3 || run.n_groups > 5)) return std::nullopt;
  return passes_luhn(run.digits) ? std::optional(Find{at, run.end, PiiKind::card}) : std::nullopt;
}

std::optional<Find> find_ip(std::string_view text, std::size_t at) {
  std::size_t i = at;
  int parts[4] = {};
  for (int part = 0; part < 4; ++part) {
    if (part > 0 && (i >= text.size() || text[i++] != '.')) return std::nullopt;
    const std::size_t first = i;
    while (i < text.size() && is_digit(text[i]) && i - first < 3) parts[part] = parts[part] * 10 + (text[i++] - '0');
    if (i == first || parts[part] > 255 || (i - first > 1 && text[first] == '0')) return std::nullopt;
  }
  if (!ends_number(text, i) || (i + 1 < text.size() && text[i] == '.' && is_digit(text[i + 1]))) return std::nullopt;
  const bool of_nobody = parts[0] == 127 || (parts[0] == 0 && parts[3] == 0) || (parts[0] == 255 && parts[3] == 255);
  return of_nobody ? std::nullopt : std::optional(Find{at, i, PiiKind::ip});
}

std::optional<Find> find_phone(std::string_view text, std::size_t at) {
  if (text[at] == '+') {
    const DigitRun run = read_digits(text, at + 1, 16, true);
    const bool fits = run.digits.size() >= 8 && run.digits.size() <= 15 && run.digits[0] != '0';
    return fits && ends_number(text, run.end) ? std::optional(Find{at, run.end, PiiKind::phone}) : std::nullopt;
  }
  if (text[at] == '(') {  // (212) 555-0123
    if (at + 6 > text.size() || text[at + 4] != ')') return std::nullopt;
    const std::size_t rest_at = at + 5 + (text[at + 5] == ' ' ? 1 : 0);
    const DigitRun rest = read_digits(text, rest_at, 8, true);
    const bool area = is_digit(text[at + 1]) && is_digit(text[at + 2]) && is_digit(text[at + 3]);
    const bool fits = area && rest.digits.size() == 7 && rest.n_groups == 2 && ends_number(text, rest.end);
    return fits ? std::optional(Find{at, rest.end, PiiKind::phone}) : std::nullopt;
  }
  const DigitRun run = read_digits(text, at, 12, true);
  if (!ends_number(text, run.end)) return std::nullopt;
  const bool mobile = run.digits.size() == 11 && run.digits[0] == '1' && run.digits[1] >= '3' &&
                      (run.n_groups == 1 || run.n_groups == 3);
  const bool american = run.digits.size() == 10 && run.n_groups == 3 && run.digits[0] >= '2' && run.digits[3] >= '2' &&
                        text[at + 3] != ' ';
  return mobile || american ? std::optional(Find{at, run.end, PiiKind::phone}) : std::nullopt;
}

/// The address around the @ at `at`; nothing of it lies before `least`.
std::optional<Find> find_email(std::string_view text, std::size_t at, std::size_t least) {
  std::size_t begin = at, end = at + 1;
  while (begin > least && at - begin < 64 && is_local_part(text[begin - 1])) --begin;
  while (begin < at && (text[begin] == '.' || text[begin] == '-')) ++begin;
  while (end < text.size() && end - at < 254 && is_host(text[end])) ++end;
  while (end > at + 1 && (text[end - 1] == '.' || text[end - 1] == '-')) --end;
  const std::string_view host = text.substr(at + 1, end - at - 1);
  const auto dot = host.rfind('.');
  if (begin == at || dot == std::string_view::npos || dot == 0 || host.size() - dot < 3) return std::nullopt;
  const bool name =
      std::ranges::all_of(host.substr(dot + 1), [](char c) { return is_letter_or_digit(c) && !is_digit(c); });
  return name ? std::optional(Find{begin, end, PiiKind::email}) : std::nullopt;
}

std::optional<Find> find_at(std::string_view text, std::size_t at, std::size_t least) {
  const char c = text[at];
  if (c == '@') return find_email(text, at, least);
  if (c == '+' || c == '(') return at > 0 && is_letter_or_digit(text[at - 1]) ? std::nullopt : find_phone(text, at);
  if (!is_digit(c) || !begins_number(text, at)) return std::nullopt;
  if (const auto found = find_identity_number(text, at)) return found;
  if (const auto found = find_card(text, at)) return found;
  if (const auto found = find_ip(text, at)) return found;
  return find_phone(text, at);
}

}  // namespace

std::string_view placeholder(PiiKind kind) noexcept {
  constexpr std::string_view names[] = {"<EMAIL>", "<PHONE>", "<ID>", "<CARD>", "<IP>"};
  return names[static_cast<std::size_t>(kind)];
}

const char* note(PiiKind kind) noexcept {
  constexpr const char* names[] = {"email_masked", "phone_masked", "identity_number_masked", "card_masked",
                                   "ip_masked"};
  return names[static_cast<std::size_t>(kind)];
}

bool passes_luhn(std::string_view digits) noexcept {
  int sum = 0;
  bool doubled = false;
  for (std::size_t i = digits.size(); i-- > 0; doubled = !doubled) {
    const int digit = digits[i] - '0';
    sum += doubled ? (digit > 4 ? 2 * digit - 9 : 2 * digit) : digit;
  }
  return !digits.empty() && sum % 10 == 0;
}

bool is_identity_number(std::string_view digits) noexcept {
  constexpr int weights[] = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
  constexpr std::string_view check_digits = "10X98765432";
  if (digits.size() != 18) return false;
  int sum = 0;
  for (std::size_t i = 0; i < 17; ++i) {
    if (!is_digit(digits[i])) return false;
    sum += (digits[i] - '0') * weights[i];
  }
  const auto number = [&](std::size_t at, std::size_t n) {
    int value = 0;
    for (std::size_t i = at; i < at + n; ++i) value = value * 10 + (digits[i] - '0');
    return value;
  };
  const int year = number(6, 4), month = number(10, 2), day = number(12, 2);
  const bool date = year >= 1850 && year <= 2100 && month >= 1 && month <= 12 && day >= 1 && day <= 31;
  const char last = digits[17] == 'x' ? 'X' : digits[17];
  return digits[0] != '0' && date && last == check_digits[static_cast<std::size_t>(sum % 11)];
}

std::string mask_pii(std::string_view text, std::array<int, n_pii_kinds>* found) {
  std::string masked;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c != '@' && c != '+' && c != '(' && !is_digit(c)) continue;
    const auto find = find_at(text, at, done);
    if (!find) continue;
    masked.append(text.substr(done, find->begin - done)).append(placeholder(find->kind));
    done = find->end;
    at = done - 1;
    if (found != nullptr) ++(*found)[static_cast<std::size_t>(find->kind)];
  }
  return masked.append(text.substr(done));
}

}  // namespace moebox::data
