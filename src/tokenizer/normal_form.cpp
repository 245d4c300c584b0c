// Normal forms: only the stretches of a text that can change are taken apart. The tables are utf8proc's.
#include "tokenizer/normal_form.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <new>
#include <utility>
#include <vector>

#include <utf8proc.h>

#include "base/error.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

/// Characters with a combining class or a decomposition that are younger than Unicode 9, and one (U+11930) that only
/// younger characters compose with. Found by comparing all code points with tokenizers 0.23
/// (tests/tokenizer/compare_with_huggingface.py).
constexpr std::pair<char32_t, char32_t> kYoung[] = {
    {0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
    {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},
    {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xA82C, 0xA82C},   {0xAB69, 0xAB69},   {0x105C9, 0x105C9},
    {0x105E4, 0x105E4}, {0x10781, 0x107BA}, {0x10D24, 0x10D27}, {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC},
    {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B},
    {0x11383, 0x11391}, {0x113C5, 0x113D0}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930},
    {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34},
    {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42},
    {0x16121, 0x1612F}, {0x16D68, 0x16D6A}, {0x16FF0, 0x16FF1}, {0x1CCD6, 0x1CCF9}, {0x1E030, 0x1E06D},
    {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
    {0x1E5EE, 0x1E5EF}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9},
};

bool young(char32_t c) {
  const auto* after =
      std::upper_bound(std::begin(kYoung), std::end(kYoung), c, [](char32_t v, const auto& r) { return v < r.first; });
  return after != std::begin(kYoung) && c <= std::prev(after)->second;
}

constexpr bool composes(NormalForm form) { return form == NormalForm::nfc || form == NormalForm::nfkc; }
constexpr bool compatible(NormalForm form) { return form == NormalForm::nfkc || form == NormalForm::nfkd; }
constexpr std::uint16_t kNoSequence = 0xFFFF;  // utf8proc's mark for "decomposes to itself"

/// True only for characters that are normal by themselves and do not change with what stands before them.
bool is_stable(char32_t c, NormalForm form) {
  if (c < 0xA0) return true;
  if (c >= 0x3400 && c <= 0x9FFF) return true;  // ideographs
  const bool hangul = c >= 0xAC00 && c <= 0xD7A3;
  if (form == NormalForm::nfc) {
    if (c < 0x300 || hangul || (c >= 0x1E00 && c <= 0x1EFF) ||
        (c >= 0x3040 && c <= 0x30FF && c != 0x3099 && c != 0x309A))
      return true;
  }
  if (hangul) return composes(form);
  const bool jamo = (c >= 0x1160 && c <= 0x11FF) || (c >= 0xD7B0 && c <= 0xD7FF);
  if (jamo && composes(form)) return false;
  const utf8proc_property_t* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
  if (property->combining_class != 0) return young(c);
  if (composes(form) && unicode::in(unicode::kMark, c)) return young(c);
  if (property->decomp_seqindex == kNoSequence) return true;
  const bool canonical = property->decomp_type == 0;
  return (!canonical && !compatible(form)) || young(c);
}

/// Collects a stretch in decomposed form, orders its marks, and composes it.
class Stretch {
 public:
  explicit Stretch(NormalForm form) : form_(form) {}

  void add(char32_t c, std::string& out) {
    if (young(c)) {
      flush(out);
      utf8::append(out, c);
      return;
    }
    utf8proc_int32_t parts[32];
    int boundary = 0;
    const int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible(form_) ? UTF8PROC_COMPAT : 0);
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, std::size(parts),
                                               static_cast<utf8proc_option_t>(options), &boundary);
    if (count < 0 || count > static_cast<utf8proc_ssize_t>(std::size(parts))) {
      throw Error(ErrorKind::internal, "a character decomposes into more than expected", "normalisation");
    }
    points_.insert(points_.end(), parts, parts + count);
  }

  void flush(std::string& out) {
    order_marks();
    auto size = static_cast<utf8proc_ssize_t>(points_.size());
    if (composes(form_) && size > 0) {
      size = utf8proc_normalize_utf32(points_.data(), size,
                                      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
      if (size < 0) throw Error(ErrorKind::internal, "a text cannot be composed", "normalisation");
    }
    for (utf8proc_ssize_t i = 0; i < size; ++i)
      utf8::append(out, static_cast<char32_t>(points_[static_cast<std::size_t>(i)]));
    points_.clear();
  }

 private:
  static int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

  // utf8proc orders by exchanging neighbours, which takes quadratic time for a long run of marks.
  void order_marks() {
    for (auto begin = points_.begin(); begin != points_.end();) {
      begin = std::find_if(begin, points_.end(), [](auto c) { return combining_class(c) != 0; });
      const auto end = std::find_if(begin, points_.end(), [](auto c) { return combining_class(c) == 0; });
      if (end - begin > 1) order_run(begin, end);
      begin = end;
    }
  }

  /// Sorts by class; marks of one class keep their order. (std::stable_sort of GCC 12 uses what clang calls
  /// deprecated.)
  void order_run(std::vector<utf8proc_int32_t>::iterator begin, std::vector<utf8proc_int32_t>::iterator end) {
    constexpr int kPointBits = 21, kClassShift = 56;
    keys_.clear();
    for (auto at = begin; at != end; ++at) {
      keys_.push_back(static_cast<std::uint64_t>(combining_class(*at)) << kClassShift |
                      static_cast<std::uint64_t>(at - begin) << kPointBits | static_cast<std::uint64_t>(*at));
    }
    std::sort(keys_.begin(), keys_.end());
    for (const std::uint64_t key : keys_) *begin++ = static_cast<utf8proc_int32_t>(key & ((1u << kPointBits) - 1));
  }

  NormalForm form_;
  std::vector<utf8proc_int32_t> points_;
  std::vector<std::uint64_t> keys_;  // class, place and code point of each mark of a run
};

}  // namespace

bool normalize(std::string_view text, NormalForm form, std::string& out) {
  std::size_t copied = 0;    // what stands before is in `out`
  std::size_t previous = 0;  // the last stable character: what follows may combine with it
  bool changed = false;
  Stretch stretch(form);
  const auto length_at = [&](std::size_t at) { return static_cast<std::size_t>(utf8::length(text[at])); };
  for (std::size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80 || is_stable(utf8::decode(text.data() + at), form)) {
      previous = at;
      at += length_at(at);
      continue;
    }
    if (!changed) out.reserve(out.size() + text.size());
    changed = true;
    out.append(text.substr(copied, previous - copied));
    for (at = previous; at < text.size(); at += length_at(at)) {
      const char32_t c = utf8::decode(text.data() + at);
      if (at != previous && is_stable(c, form)) break;
      stretch.add(c, out);
    }
    stretch.flush(out);
    copied = previous = at;
  }
  if (changed) out.append(text.substr(copied));
  return changed;
}

bool younger_than_reference(char32_t c) noexcept { return young(c); }

void append_lower_case(std::string_view text, std::string& out) {
  out.reserve(out.size() + text.size());
  for (std::size_t at = 0; at < text.size(); at += static_cast<std::size_t>(utf8::length(text[at]))) {
    const char32_t c = utf8::decode(text.data() + at);
    if (c == 0x130) {
      out.append("i\xCC\x87");  // the only character whose lower case is two
    } else {
      utf8::append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  }
}

}  // namespace moebox
