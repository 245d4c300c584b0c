// Names of tokens that every family of models writes a little differently.
#include <algorithm>
#include <initializer_list>

#include "tokenizer/pipeline.h"

namespace moebox {
namespace {

/// Tokens that end an answer. "<|end|>" is handled by itself: with gpt-oss it only ends one of several messages.
constexpr std::string_view kEndOfGeneration[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|EOT|>",
    "<|eot|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<turn|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "</s>",
    "<eos>",
    "<|eos|>",
    "<EOT>",
    "[EOS]",
    "<|END_OF_TURN_TOKEN|>",

};

using Names = std::initializer_list<std::string_view>;

std::optional<TokenId> first_special(const Vocabulary& vocabulary, Names names) {
  for (const std::string_view name : names) {
    const auto id = vocabulary.find(name);
    if (id && (vocabulary.kind(*id) == TokenKind::control || vocabulary.kind(*id) == TokenKind::added)) return id;
  }
  return std::nullopt;
}

bool has_control(const Vocabulary& vocabulary, std::string_view name) {
  const auto id = vocabulary.find(name);
  return id && vocabulary.kind(*id) == TokenKind::control;
}

}  // namespace

void add_well_known(const Vocabulary& vocabulary, Tokenizer::Special& special) {
  auto& ends = special.end_of_generation;
  if (special.eos) ends.push_back(*special.eos);
  for (const std::string_view name : kEndOfGeneration) {
    if (has_control(vocabulary, name)) ends.push_back(*vocabulary.find(name));
  }
  if (has_control(vocabulary, "<|end|>") && !has_control(vocabulary, "<|return|>"))
    ends.push_back(*vocabulary.find("<|end|>"));
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());

  const auto complete = [&](std::optional<TokenId>& id, Names names) {
    if (!id) id = first_special(vocabulary, names);
  };
  complete(special.fim_prefix, {"<|fim_prefix|>", "<fim_prefix>", "<fim-prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
                                "<|code_prefix|>", "[PREFIX]"});
  complete(special.fim_suffix, {"<|fim_suffix|>", "<fim_suffix>", "<fim-suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>",
                                "<|code_suffix|>", "[SUFFIX]"});
  complete(special.fim_middle, {"<|fim_middle|>", "<fim_middle>", "<fim-middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>",
                                "<|code_middle|>", "[MIDDLE]"});
}

bool looks_like_control(std::string_view content) noexcept {
  const auto between = [&](std::string_view open, std::string_view close) {
    return content.size() > open.size() + close.size() && content.starts_with(open) && content.ends_with(close);
  };
  return between("<|", "|>") || between("<｜", "｜>");
}

bool names_unknown(std::string_view text) noexcept {
  const std::string_view unk = "unk";
  const auto same = [](char a, char b) { return (a | 0x20) == b; };
  return std::search(text.begin(), text.end(), unk.begin(), unk.end(), same) != text.end();
}

std::optional<unsigned char> fallback_byte(std::string_view text) noexcept {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<unsigned char>(value);
}

}  // namespace moebox
