// Regular expressions on PCRE2, with limits: the expression and the text both come from outside.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <memory>

#include <fmt/core.h>
#include <pcre2.h>

#include "base/error.h"
#include "tokenizer/pattern.h"

namespace moebox {
namespace {

constexpr std::size_t kMaxPatternBytes = 32 * 1024;
constexpr std::size_t kMaxCompiledBytes = 512 * 1024;
constexpr std::uint32_t kMaxNesting = 50;
constexpr std::uint32_t kMatchLimit = 1'000'000;
constexpr std::uint32_t kHeapLimitKib = 16 * 1024;

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* pointer) const noexcept {
    Free(pointer);
  }
};
using CompileContext = std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;
using Code = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;

std::string error_text(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

class PcrePattern final : public Pattern {
 public:
  PcrePattern(Code code, std::string where)
      : code_(std::move(code)), context_(pcre2_match_context_create(nullptr)), where_(std::move(where)) {
    if (!context_) throw std::bad_alloc();
    pcre2_set_match_limit(context_.get(), kMatchLimit);
    pcre2_set_depth_limit(context_.get(), kMatchLimit);
    pcre2_set_heap_limit(context_.get(), kHeapLimitKib);
  }

  std::optional<Match> find(std::string_view text, std::size_t from, MatchBudget& budget) const override {
    budget.check_time();
    const MatchData data(pcre2_match_data_create(1, nullptr));
    if (!data) throw std::bad_alloc();
    const int rc = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                               PCRE2_NO_UTF_CHECK, data.get(), context_.get());
    if (rc == PCRE2_ERROR_NOMATCH) return std::nullopt;
    if (rc < 0) {
      throw Error(ErrorKind::resource,
                  fmt::format("a regular expression of the tokenizer exceeds its limits: {}", error_text(rc)), where_,
                  "the tokenizer's file may be hostile: do not use it");
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
    if (ends[0] > ends[1] || ends[0] < from) {  // \K in a look-around can do that
      throw Error(ErrorKind::unsupported, "a regular expression of the tokenizer moves the beginning of its match",
                  where_);
    }
    return Match{ends[0], ends[1]};
  }

 private:
  Code code_;
  MatchContext context_;
  std::string where_;
};

/// Constructs that Oniguruma and PCRE2 both accept and understand differently.
void reject_differences(std::string_view regex, std::string_view where) {
  for (std::size_t i = 0; i + 1 < regex.size(); ++i) {
    const std::string_view two = regex.substr(i, 2);
    if (two == "&&" || two == "\\h" || two == "\\H" || two == "\\K" || two == "[:") {
      throw Error(ErrorKind::unsupported, fmt::format("a regular expression uses '{}', which is not supported", two),
                  std::string(where));
    }
    if (regex[i] == '\\') ++i;
  }
}

/// \p{Han} is the script here, and the script with its extensions in PCRE2: says \p{sc:Han} for every name that is
/// longer than a category's.
std::string with_plain_scripts(std::string_view regex) {
  std::string out;
  for (std::size_t i = 0; i < regex.size(); ++i) {
    out.push_back(regex[i]);
    if (regex[i] != '\\' || i + 1 == regex.size()) continue;
    out.push_back(regex[++i]);
    if ((regex[i] != 'p' && regex[i] != 'P') || i + 2 >= regex.size() || regex[i + 1] != '{') continue;
    const std::size_t name = i + 2 + (regex[i + 2] == '^'), close = regex.find('}', name);
    if (close == std::string_view::npos || close - name <= 2 ||
        regex.substr(name, close - name).find_first_of(":=&_ ") != std::string_view::npos)
      continue;
    const std::string_view script = regex.substr(name, close - name);
    if (script == "Any" || script.starts_with('X')) continue;
    out.append(regex.substr(i + 1, name - i - 1)).append("sc:").append(script);
    i = close - 1;
  }
  return out;
}

}  // namespace

std::unique_ptr<Pattern> compile_pcre_regex(std::string_view regex, std::string_view where) {
  if (regex.size() > kMaxPatternBytes) {
    throw Error(
        ErrorKind::resource,
        fmt::format("a regular expression has {} bytes; at most {} are accepted", regex.size(), kMaxPatternBytes),
        std::string(where));
  }
  reject_differences(regex, where);
  const CompileContext context(pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_parens_nest_limit(context.get(), kMaxNesting);
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::string expression = with_plain_scripts(regex);
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                          context.get()));
  if (!code) {
    throw Error(ErrorKind::invalid_file,
                fmt::format("a regular expression does not compile: {} at byte {}", error_text(error), offset),
                std::string(where));
  }
  std::size_t compiled_bytes = 0;
  pcre2_pattern_info(code.get(), PCRE2_INFO_SIZE, &compiled_bytes);
  if (compiled_bytes > kMaxCompiledBytes) {
    throw Error(ErrorKind::resource,
                fmt::format("a regular expression compiles to {} bytes; at most {} are accepted", compiled_bytes,
                            kMaxCompiledBytes),
                std::string(where));
  }
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // where there is no JIT, the interpreter runs
  return std::make_unique<PcrePattern>(std::move(code), std::string(where));
}

}  // namespace moebox
