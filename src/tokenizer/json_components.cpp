// From JSON to components.
#include "tokenizer/json_components.h"

#include <optional>

#include <fmt/core.h>

#include "base/error.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/precompiled.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxSteps = 64;
constexpr std::size_t kMaxReplacementBytes = 256;
constexpr std::size_t kMaxSpelledBytes = limits::kTokenBytes * 4;

[[noreturn]] void invalid(const std::string& what, const std::string& where) {
  throw Error(ErrorKind::invalid_file, what, where);
}
[[noreturn]] void unsupported(const std::string& what, const std::string& where) {
  throw Error(ErrorKind::unsupported, what, where);
}

const json& member(const json& spec, const char* key, const std::string& where) {
  const auto found = spec.find(key);
  if (found == spec.end()) invalid(fmt::format("expected '{}'", key), where);
  return *found;
}

std::string text_of(const json& spec, const char* key, const std::string& where) {
  const json& value = member(spec, key, where);
  if (!value.is_string()) invalid(fmt::format("expected a string as '{}'", key), where);
  return value.get<std::string>();
}

bool flag_of(const json& spec, const char* key, bool fallback, const std::string& where) {
  const auto found = spec.find(key);
  if (found == spec.end() || found->is_null()) return fallback;
  if (!found->is_boolean()) invalid(fmt::format("expected true or false as '{}'", key), where);
  return found->get<bool>();
}

std::size_t count_of(const json& spec, const char* key, const std::string& where) {
  const json& value = member(spec, key, where);
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > 1000000)
    invalid(fmt::format("expected a small number as '{}'", key), where);
  return value.get<std::size_t>();
}

std::string type_of(const json& spec, const std::string& where) {
  if (!spec.is_object()) invalid("expected an object with a 'type'", where);
  return text_of(spec, "type", where);
}

const json& list_of(const json& spec, const char* key, const std::string& where) {
  const json& value = member(spec, key, where);
  if (!value.is_array()) invalid(fmt::format("expected a list as '{}'", key), where);
  if (value.size() > kMaxSteps)
    throw Error(ErrorKind::resource,
                fmt::format("a sequence of {} components; at most {} are accepted", value.size(), kMaxSteps), where);
  return value;
}

/// {"String": ...} or {"Regex": ...}; null for an empty string, which matches nowhere.
std::unique_ptr<Pattern> pattern_of(const json& spec, const std::string& where) {
  const json& pattern = member(spec, "pattern", where);
  if (pattern.is_object() && pattern.contains("Regex")) return compile_regex(text_of(pattern, "Regex", where), where);
  if (pattern.is_object() && pattern.contains("String")) {
    std::string text = text_of(pattern, "String", where);
    if (text.empty()) invalid("expected a pattern that is not empty", where);
    return literal_pattern(std::move(text));
  }
  invalid("expected a pattern with 'String' or 'Regex'", where);
}

SplitBehavior behavior_of(const json& spec, const std::string& where) {
  const std::string name = text_of(spec, "behavior", where);
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  unsupported(fmt::format("the behavior '{}' is not supported", name), where);
}

std::unique_ptr<Normalizer> normalizer_at(const json& spec, const std::string& where, int depth) {
  if (depth > 8) throw Error(ErrorKind::resource, "sequences are nested too deeply", where);
  const std::string type = type_of(spec, where);
  if (type == "NFC") return form_normalizer(NormalForm::nfc);
  if (type == "NFD") return form_normalizer(NormalForm::nfd);
  if (type == "NFKC") return form_normalizer(NormalForm::nfkc);
  if (type == "NFKD") return form_normalizer(NormalForm::nfkd);
  if (type == "Lowercase") return lower_case_normalizer();
  if (type == "StripAccents") return strip_accents_normalizer();
  if (type == "Strip")
    return strip_normalizer(flag_of(spec, "strip_left", true, where), flag_of(spec, "strip_right", true, where));
  if (type == "Prepend") {
    std::string prefix = text_of(spec, "prepend", where);
    if (prefix.size() > kMaxReplacementBytes) throw Error(ErrorKind::resource, "the prefix is too long", where);
    return prepend_normalizer(std::move(prefix));
  }
  if (type == "Replace") {
    std::string content = text_of(spec, "content", where);
    if (content.size() > kMaxReplacementBytes) throw Error(ErrorKind::resource, "the replacement is too long", where);
    return replace_normalizer(pattern_of(spec, where), std::move(content));
  }
  if (type == "Precompiled") {
    const json& charsmap = member(spec, "precompiled_charsmap", where);
    if (charsmap.is_null()) return normalizer_sequence({});
    return precompiled_normalizer(decode_base64(text_of(spec, "precompiled_charsmap", where), where), where);
  }
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Normalizer>> parts;
    for (const json& part : list_of(spec, "normalizers", where)) {
      parts.push_back(normalizer_at(part, fmt::format("{}.normalizers[{}]", where, parts.size()), depth + 1));
    }
    return normalizer_sequence(std::move(parts));
  }
  unsupported(fmt::format("the normalizer '{}' is not supported", type), where);
}

/// Builds the list of steps of a pre-tokenizer; sequences are flattened.
class StepBuilder {
 public:
  void add(const json& spec, const std::string& where, int depth = 0) {
    if (depth > 8 || steps_.size() > kMaxSteps)
      throw Error(ErrorKind::resource, "too many or too deeply nested pre-tokenizers", where);
    const std::string type = type_of(spec, where);
    if (type == "Sequence") {
      std::size_t index = 0;
      for (const json& part : list_of(spec, "pretokenizers", where))
        add(part, fmt::format("{}.pretokenizers[{}]", where, index++), depth + 1);
      return;
    }
    if (byte_level_) {  // what comes after ByteLevel sees its characters, not the text
      steps_.push_back(byte_characters_step());
      byte_level_ = false;
    }
    if (type == "Split") {
      steps_.push_back(
          pattern_step(pattern_of(spec, where), behavior_of(spec, where), flag_of(spec, "invert", false, where)));
    } else if (type == "ByteLevel") {
      if (flag_of(spec, "add_prefix_space", true, where)) steps_.push_back(prefix_space_step());
      if (flag_of(spec, "use_regex", true, where))
        steps_.push_back(pattern_step(compile_regex(kGpt2Regex, where), SplitBehavior::isolated, false));
      byte_level_ = true;
    } else if (type == "Digits") {
      const bool individual = flag_of(spec, "individual_digits", false, where);
      steps_.push_back(pattern_step(character_pattern(number_characters()),
                                    individual ? SplitBehavior::isolated : SplitBehavior::contiguous, false));
    } else if (type == "Punctuation") {
      const auto behavior = spec.contains("behavior") ? behavior_of(spec, where) : SplitBehavior::isolated;
      steps_.push_back(pattern_step(character_pattern(punctuation()), behavior, false));
    } else if (type == "Whitespace") {
      steps_.push_back(pattern_step(compile_regex(R"(\w+|[^\w\s]+)", where), SplitBehavior::removed, true));
    } else if (type == "WhitespaceSplit") {
      CharSet space;
      space.add_whitespace();
      steps_.push_back(pattern_step(character_pattern(std::move(space)), SplitBehavior::removed, false));
    } else if (type == "CharDelimiterSplit") {
      steps_.push_back(
          pattern_step(literal_pattern(one_character(spec, "delimiter", where)), SplitBehavior::removed, false));
    } else if (type == "Metaspace") {
      add_metaspace(spec, where);
    } else {
      unsupported(fmt::format("the pre-tokenizer '{}' is not supported", type), where);
    }
  }

  JsonPreTokenizer take() { return {PreTokenizer(std::move(steps_)), byte_level_}; }

 private:
  static std::string one_character(const json& spec, const char* key, const std::string& where) {
    std::string text = text_of(spec, key, where);
    if (text.empty() || static_cast<std::size_t>(utf8::length(text[0])) != text.size())
      invalid(fmt::format("expected one character as '{}'", key), where);
    return text;
  }

  static CharSet punctuation() {
    CharSet set;
    set.add_categories(unicode::kPunctuation);
    for (const char c : {'$', '+', '<', '=', '>', '^', '`', '|', '~'})
      set.add(static_cast<char32_t>(c));  // ASCII's symbols count
    return set;
  }

  void add_metaspace(const json& spec, const std::string& where) {
    PrependScheme scheme =
        flag_of(spec, "add_prefix_space", true, where) ? PrependScheme::always : PrependScheme::never;
    if (spec.contains("prepend_scheme")) {
      const std::string name = text_of(spec, "prepend_scheme", where);
      if (name == "always") {
        scheme = PrependScheme::always;
      } else if (name == "first") {
        scheme = PrependScheme::first;
      } else if (name == "never") {
        scheme = PrependScheme::never;
      } else {
        unsupported(fmt::format("the prepend_scheme '{}' is not supported", name), where);
      }
    }
    steps_.push_back(
        metaspace_step(one_character(spec, "replacement", where), scheme, flag_of(spec, "split", true, where)));
  }

  std::vector<std::unique_ptr<SplitStep>> steps_;
  bool byte_level_ = false;
};

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (std::size_t at; (at = text.find(from)) != std::string_view::npos; text.remove_prefix(at + from.size()))
    out.append(text.substr(0, at)).append(to);
  return out.append(text);
}

TokenId known_id(const json& value, const Vocabulary& vocabulary, const std::string& where) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= static_cast<std::uint64_t>(vocabulary.size())) {
    invalid("expected the id of a token of the vocabulary", where);
  }
  return value.get<TokenId>();
}

void add_template(const json& spec, const Vocabulary& vocabulary, const std::string& where, AddedSpecials& out) {
  const json& specials = member(spec, "special_tokens", where);
  bool after = false;
  for (const json& part : list_of(spec, "single", where)) {
    if (part.is_object() && part.contains("Sequence")) {
      after = true;
      continue;
    }
    if (!part.is_object() || !part.contains("SpecialToken")) invalid("expected SpecialToken or Sequence", where);
    const json& token = member(specials, text_of(part["SpecialToken"], "id", where).c_str(), where);
    for (const json& id : list_of(token, "ids", where))
      (after ? out.after : out.before).push_back(known_id(id, vocabulary, where));
  }
}

void add_specials(const json& spec, const Vocabulary& vocabulary, const std::string& where, int depth,
                  AddedSpecials& out) {
  if (depth > 8) throw Error(ErrorKind::resource, "sequences are nested too deeply", where);
  const std::string type = type_of(spec, where);
  if (type == "ByteLevel") return;  // changes offsets only
  if (type == "Sequence") {
    for (const json& part : list_of(spec, "processors", where))
      add_specials(part, vocabulary, where + ".processors", depth + 1, out);
  } else if (type == "TemplateProcessing") {
    add_template(spec, vocabulary, where, out);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    for (const auto& [key, ids] : {std::pair{"cls", &out.before}, std::pair{"sep", &out.after}}) {
      const json& pair = list_of(spec, key, where);
      if (pair.size() != 2) invalid(fmt::format("expected a token and its id as '{}'", key), where);
      ids->push_back(known_id(pair[1], vocabulary, where));
    }
  } else {
    unsupported(fmt::format("the post-processor '{}' is not supported", type), where);
  }
}

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const json& spec) {
  return spec.is_null() ? nullptr : normalizer_at(spec, "tokenizer.json: normalizer", 0);
}

JsonPreTokenizer make_pre_tokenizer(const json& spec) {
  StepBuilder builder;
  if (!spec.is_null()) builder.add(spec, "tokenizer.json: pre_tokenizer");
  return builder.take();
}

TokenSpelling::TokenSpelling(const json& decoder) {
  if (decoder.is_null()) {  // tokens are joined by spaces
    steps_.push_back({.kind = Step::Kind::prefix, .to = " "});
    drops_leading_space_ = true;
  } else {
    add(decoder, "tokenizer.json: decoder", 0);
  }
}

void TokenSpelling::add(const json& spec, const std::string& where, int depth) {
  if (depth > 8 || steps_.size() > kMaxSteps)
    throw Error(ErrorKind::resource, "too many or too deeply nested decoders", where);
  const std::string type = type_of(spec, where);
  if (fused_ && type != "Strip" && type != "Fuse")
    unsupported(fmt::format("the decoder '{}' behind 'Fuse' is not supported", type), where);
  if (type == "Sequence") {
    for (const json& part : list_of(spec, "decoders", where)) add(part, where + ".decoders", depth + 1);
  } else if (type == "ByteLevel") {
    steps_.push_back({.kind = Step::Kind::byte_level});
  } else if (type == "Replace") {
    const json& pattern = member(spec, "pattern", where);
    if (!pattern.is_object() || !pattern.contains("String"))
      unsupported("a decoder that replaces a regular expression is not supported", where);
    std::string from = text_of(pattern, "String", where), to = text_of(spec, "content", where);
    if (from.empty() || to.size() > kMaxReplacementBytes)
      invalid("expected a pattern that is not empty and a short replacement", where);
    steps_.push_back({.kind = Step::Kind::replace, .from = std::move(from), .to = std::move(to)});
  } else if (type == "ByteFallback") {
    steps_.push_back({.kind = Step::Kind::byte_fallback});
  } else if (type == "Fuse") {
    fused_ = true;
  } else if (type == "Metaspace") {
    steps_.push_back({.kind = Step::Kind::replace, .from = text_of(spec, "replacement", where), .to = " "});
    if (steps_.back().from.empty()) invalid("expected a replacement that is not empty", where);
    drops_leading_space_ = spec.contains("prepend_scheme") ? text_of(spec, "prepend_scheme", where) != "never"
                                                           : flag_of(spec, "add_prefix_space", true, where);
  } else if (type == "Strip") {
    const std::string content = text_of(spec, "content", where);
    const std::size_t start = count_of(spec, "start", where), stop = count_of(spec, "stop", where);
    if (!fused_) {
      steps_.push_back({.kind = Step::Kind::strip, .from = content, .start = start, .stop = stop});
    } else if (stop == 0 && start == 1 && content == " ") {
      drops_leading_space_ = true;
    } else if (stop != 0 || start != 0) {
      unsupported("a decoder that strips anything but one leading space of a text is not supported", where);
    }
  } else {
    unsupported(fmt::format("the decoder '{}' is not supported", type), where);
  }
}

std::string TokenSpelling::spell(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Step::Kind::byte_level:
        if (auto bytes = byte_level::to_bytes(out)) out = std::move(*bytes);
        break;
      case Step::Kind::replace:
        out = replaced(out, step.from, step.to);
        break;
      case Step::Kind::byte_fallback:
        if (const auto byte = fallback_byte(out)) return std::string(1, static_cast<char>(*byte));
        break;
      case Step::Kind::strip: {
        for (std::size_t i = 0; i < step.start && !step.from.empty() && out.starts_with(step.from); ++i)
          out.erase(0, step.from.size());
        for (std::size_t i = 0; i < step.stop && !step.from.empty() && out.ends_with(step.from); ++i)
          out.resize(out.size() - step.from.size());
        break;
      }
      case Step::Kind::prefix:
        out.insert(0, step.to);
        break;
    }
    if (out.size() > kMaxSpelledBytes) {
      throw Error(ErrorKind::resource,
                  fmt::format("the decoder makes more than {} bytes of one token", kMaxSpelledBytes),
                  "tokenizer.json: decoder");
    }
  }
  return out;
}

AddedSpecials make_added_specials(const json& post_processor, const Vocabulary& vocabulary) {
  AddedSpecials out;
  if (!post_processor.is_null()) add_specials(post_processor, vocabulary, "tokenizer.json: post_processor", 0, out);
  return out;
}

}  // namespace moebox
