// GPT-2's byte map: every byte as a printable character, so that vocabularies are text.
// Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", and its published encoder.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace moebox::byte_level {

/// The character that stands for a byte.
char32_t character(unsigned char byte) noexcept;
/// The byte that a character stands for, if it stands for one.
std::optional<unsigned char> byte(char32_t character) noexcept;

/// Every byte of `bytes` as its character.
std::string to_characters(std::string_view bytes);
/// The bytes of `characters` (valid UTF-8); nothing when one of them stands for no byte.
std::optional<std::string> to_bytes(std::string_view characters);

}  // namespace moebox::byte_level
