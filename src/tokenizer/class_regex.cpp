// The parser of the regular expressions that tokenizers really use: alternatives of sequences of repeated character
// classes, optional groups, and one-character look-ahead. The matcher is in class_program.cpp. Other expressions go to
// PCRE2.
#include <cstdint>
#include <utility>
#include <vector>

#include "tokenizer/class_program.h"
#include "tokenizer/pattern.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

constexpr std::size_t kMaxNodes = 512;

/// Thrown by the parser for what the matcher does not know; never leaves this file.
struct NotSupported {};

std::uint32_t categories_named(std::string_view name) {
  using enum unicode::Category;
  struct Named {
    std::string_view name;
    std::uint32_t categories;
  };
  static constexpr Named kNamed[] = {
      {"L", unicode::kLetter}, {"M", unicode::kMark},
      {"N", unicode::kNumber}, {"P", unicode::kPunctuation},
      {"S", unicode::kSymbol}, {"Z", unicode::kSeparator},
      {"C", unicode::kOther},  {"Lu", bit(Lu)},
      {"Ll", bit(Ll)},         {"Lt", bit(Lt)},
      {"Lm", bit(Lm)},         {"Lo", bit(Lo)},
      {"Mn", bit(Mn)},         {"Mc", bit(Mc)},
      {"Me", bit(Me)},         {"Nd", bit(Nd)},
      {"Nl", bit(Nl)},         {"No", bit(No)},
      {"Pc", bit(Pc)},         {"Pd", bit(Pd)},
      {"Ps", bit(Ps)},         {"Pe", bit(Pe)},
      {"Pi", bit(Pi)},         {"Pf", bit(Pf)},
      {"Po", bit(Po)},         {"Sm", bit(Sm)},
      {"Sc", bit(Sc)},         {"Sk", bit(Sk)},
      {"So", bit(So)},         {"Zs", bit(Zs)},
      {"Zl", bit(Zl)},         {"Zp", bit(Zp)},
      {"Cc", bit(Cc)},         {"Cf", bit(Cf)},
      {"Co", bit(Co)},         {"Cn", bit(Cn)},
  };
  for (const Named& named : kNamed) {
    if (named.name == name) return named.categories;
  }
  throw NotSupported{};
}

/// Recursive descent, building the nodes from the back: each part is told what follows it.
class Parser {
 public:
  explicit Parser(std::string_view regex) : text_(regex) {}

  ClassProgram parse() {
    const ClassNode* accept = node({});
    const ClassNode* start = alternatives(accept, 0);
    if (at_ != text_.size()) throw NotSupported{};
    program_.start = start;
    return std::move(program_);
  }

 private:
  // A part of a sequence before what follows it is known.
  struct Part {
    enum class Kind { set, look_ahead, line_end, group };
    Kind kind;
    const CharSet* set = nullptr;
    bool negative = false;
    std::uint32_t min = 1, max = 1;
    std::vector<std::vector<Part>> group{};
  };

  bool more() const { return at_ < text_.size(); }
  char peek() const { return text_[at_]; }
  bool accept(std::string_view expected) {
    if (!text_.substr(at_).starts_with(expected)) return false;
    at_ += expected.size();
    return true;
  }
  char32_t next_char() {
    if (!more()) throw NotSupported{};
    const auto length = static_cast<std::size_t>(utf8::length(peek()));
    const char32_t c = utf8::decode(text_.data() + at_);
    at_ += length;
    return c;
  }

  const ClassNode* node(ClassNode n) {
    if (program_.nodes.size() >= kMaxNodes) throw NotSupported{};
    return &program_.nodes.emplace_back(std::move(n));
  }
  const CharSet* set(CharSet s) { return &program_.sets.emplace_back(std::move(s)); }

  const ClassNode* alternatives(const ClassNode* follow, int depth) {
    return link_group(parse_group(depth, false), follow, false);
  }

  std::vector<std::vector<Part>> parse_group(int depth, bool ignore_case) {
    if (depth > 8) throw NotSupported{};
    std::vector<std::vector<Part>> group(1);
    while (more() && peek() != ')') {
      if (accept("|")) {
        group.emplace_back();
      } else {
        group.back().push_back(parse_part(depth, ignore_case));
      }
    }
    return group;
  }

  Part parse_part(int depth, bool ignore_case) {
    Part part = parse_atom(depth, ignore_case);
    parse_repeat(part);
    if (part.kind == Part::Kind::group && !(part.max == 1 && part.min <= 1)) throw NotSupported{};
    if ((part.kind == Part::Kind::look_ahead || part.kind == Part::Kind::line_end) && (part.min != 1 || part.max != 1))
      throw NotSupported{};
    return part;
  }

  void parse_repeat(Part& part) {
    if (!more()) return;
    if (accept("?")) {
      part.min = 0;
    } else if (accept("*")) {
      part.min = 0, part.max = ClassNode::unbounded;
    } else if (accept("+")) {
      part.max = ClassNode::unbounded;
    } else if (accept("{")) {
      part.min = number();
      part.max = part.min;
      if (accept(",")) part.max = more() && peek() == '}' ? ClassNode::unbounded : number();
      if (!accept("}") || part.max < part.min || part.max == 0) throw NotSupported{};
    } else {
      return;
    }
    if (more() && (peek() == '?' || peek() == '+' || peek() == '*' || peek() == '{'))
      throw NotSupported{};  // lazy, possessive, nested
  }

  std::uint32_t number() {
    std::uint32_t value = 0;
    bool any = false;
    while (more() && peek() >= '0' && peek() <= '9' && value < 1000) {
      value = value * 10 + static_cast<std::uint32_t>(peek() - '0');
      ++at_;
      any = true;
    }
    if (!any || value >= 1000) throw NotSupported{};
    return value;
  }

  Part parse_atom(int depth, bool ignore_case) {
    if (accept("(?!") || accept("(?=")) {
      Part part{.kind = Part::Kind::look_ahead, .negative = text_[at_ - 1] == '!'};
      part.set = set(parse_set(ignore_case));
      if (!accept(")")) throw NotSupported{};
      return part;
    }
    if (accept("(?i:")) return close({.kind = Part::Kind::group, .group = parse_group(depth + 1, true)});
    if (accept("(?:")) return close({.kind = Part::Kind::group, .group = parse_group(depth + 1, ignore_case)});
    if (peek() == '(' && !text_.substr(at_).starts_with("(?")) {
      ++at_;
      return close({.kind = Part::Kind::group, .group = parse_group(depth + 1, ignore_case)});
    }
    if (accept("$")) return {.kind = Part::Kind::line_end};
    return {.kind = Part::Kind::set, .set = set(parse_set(ignore_case))};
  }

  Part close(Part part) {
    if (!accept(")")) throw NotSupported{};
    return part;
  }

  /// One character, escape or bracketed class.
  CharSet parse_set(bool ignore_case) {
    if (!more()) throw NotSupported{};
    CharSet out;
    if (peek() == '[') {
      if (ignore_case) throw NotSupported{};
      ++at_;
      return parse_class();
    }
    if (peek() == '\\') {
      if (!add_escape(out, true)) add_literal(out, escaped_char(), ignore_case);
      return out;
    }
    if (std::string_view("().^$?*+{|").find(peek()) != std::string_view::npos) throw NotSupported{};
    add_literal(out, next_char(), ignore_case);
    return out;
  }

  void add_literal(CharSet& out, char32_t c, bool ignore_case) {
    out.add(c);
    if (!ignore_case) return;
    if (c >= 0x80) throw NotSupported{};
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter) return;
    out.add(c ^ 0x20);
    if ((c | 0x20) == 's') out.add(0x17F);   // the long s folds to s
    if ((c | 0x20) == 'k') out.add(0x212A);  // the Kelvin sign folds to k
  }

  /// A class escape (\s, \p{L} ...); false for the escape of a single character, which is left unread.
  bool add_escape(CharSet& out, bool alone) {
    if (at_ + 1 >= text_.size()) throw NotSupported{};
    const char kind = text_[at_ + 1];
    const bool negative = kind == 'S' || kind == 'W' || kind == 'D';
    if (negative && !alone) throw NotSupported{};
    switch (kind) {
      case 's':
      case 'S':
        out.add_whitespace();
        break;
      case 'w':
      case 'W':
        out.add_word();
        break;
      case 'd':
      case 'D':
        out.add_categories(bit(unicode::Category::Nd));
        break;
      case 'p':
      case 'P':
        add_property(out, kind == 'P');
        return true;
      default:
        return false;
    }
    at_ += 2;
    if (negative) out.negate();
    return true;
  }

  void add_property(CharSet& out, bool negative) {
    at_ += 2;
    if (!accept("{")) throw NotSupported{};
    const std::size_t close = text_.find('}', at_);
    if (close == std::string_view::npos) throw NotSupported{};
    const std::uint32_t categories = categories_named(text_.substr(at_, close - at_));
    at_ = close + 1;
    out.add_categories(negative ? unicode::kAllCategories & ~categories : categories);
  }

  char32_t escaped_char() {
    ++at_;
    const char32_t c = next_char();
    switch (c) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case 'x':
        return hexadecimal();
      default:
        break;
    }
    const bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (alphanumeric || c >= 0x80) throw NotSupported{};
    return c;
  }

  /// The rest of \x{1F600}.
  char32_t hexadecimal() {
    if (!accept("{")) throw NotSupported{};
    char32_t value = 0;
    for (int digits = 0; !accept("}"); ++digits) {
      const char32_t c = next_char();
      const char32_t digit = c >= '0' && c <= '9'   ? c - '0'
                             : c >= 'A' && c <= 'F' ? c - 'A' + 10
                             : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                    : 16;
      if (digit == 16 || digits == 6) throw NotSupported{};
      value = value * 16 + digit;
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) throw NotSupported{};
    return value;
  }

  CharSet parse_class() {
    CharSet out;
    const bool negative = accept("^");
    if (more() && peek() == ']') throw NotSupported{};  // "[]": engines disagree
    while (!accept("]")) {
      if (!more() || peek() == '[' || text_.substr(at_).starts_with("&&")) throw NotSupported{};
      if (peek() == '\\' && add_escape(out, false)) continue;
      const char32_t low = class_char();
      if (more() && peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        if (peek() == '\\' && at_ + 1 < text_.size() &&
            std::string_view("swdpSWDP").find(text_[at_ + 1]) != std::string_view::npos)
          throw NotSupported{};
        const char32_t high = class_char();
        if (high < low) throw NotSupported{};
        out.add(low, high);
      } else {
        out.add(low);
      }
    }
    if (negative) out.negate();
    return out;
  }

  char32_t class_char() { return more() && peek() == '\\' ? escaped_char() : next_char(); }

  /// Nodes of a group before `follow`; an optional group has an empty last branch.
  const ClassNode* link_group(const std::vector<std::vector<Part>>& group, const ClassNode* follow, bool optional) {
    if (group.size() == 1 && !optional) return link(group[0], follow);
    ClassNode branch{.kind = ClassNode::Kind::branch};
    for (const auto& sequence : group) branch.branches.push_back(link(sequence, follow));
    if (optional) branch.branches.push_back(follow);
    return node(std::move(branch));
  }

  const ClassNode* link(const std::vector<Part>& sequence, const ClassNode* follow) {
    for (auto part = sequence.rbegin(); part != sequence.rend(); ++part) {
      switch (part->kind) {
        case Part::Kind::group:
          follow = link_group(part->group, follow, part->min == 0);
          break;
        case Part::Kind::line_end:
          follow = node({.kind = ClassNode::Kind::line_end, .next = follow});
          break;
        case Part::Kind::look_ahead:
          follow =
              node({.kind = ClassNode::Kind::look_ahead, .set = part->set, .negative = part->negative, .next = follow});
          break;
        case Part::Kind::set:
          follow = node(
              {.kind = ClassNode::Kind::set, .set = part->set, .min = part->min, .max = part->max, .next = follow});
          break;
      }
    }
    return follow;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  ClassProgram program_;
};

}  // namespace

std::unique_ptr<Pattern> compile_class_regex(std::string_view regex) {
  if (utf8::valid_prefix(regex) != regex.size() || regex.size() > 16 * 1024) return nullptr;
  try {
    return make_class_pattern(Parser(regex).parse());
  } catch (const NotSupported&) {
    return nullptr;
  }
}

}  // namespace moebox
