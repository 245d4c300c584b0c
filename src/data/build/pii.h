// Personal data in text, by form: what can be told from its digits is checked (checksums), so that little else is lost.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace moebox::data {

enum class PiiKind : std::uint8_t { email, phone, identity_number, card, ip };
inline constexpr std::size_t n_pii_kinds = 5;
/// "<EMAIL>", "<PHONE>", "<ID>", "<CARD>", "<IP>": what stands instead.
std::string_view placeholder(PiiKind kind) noexcept;
/// "email_masked" and so on, for counts.
const char* note(PiiKind kind) noexcept;

/// `text` with every find replaced. Finds are: e-mail addresses; telephone numbers (Chinese mobiles, numbers with + and
/// country code, North American ones with separators); Chinese identity numbers of 18 digits with a date that can be
/// and the check digit of GB 11643-1999 (ISO 7064 MOD 11-2); cards of 13 to 19 digits, in groups or not, with Luhn's
/// check digit (ISO/IEC 7812-1); IPv4 addresses but 0.0.0.0, 127.x and 255.255.255.255. Linear in the text.
/// `found`, when given, counts by kind.
std::string mask_pii(std::string_view text, std::array<int, n_pii_kinds>* found = nullptr);

bool is_identity_number(std::string_view digits) noexcept;  // 18 characters
bool passes_luhn(std::string_view digits) noexcept;

}  // namespace moebox::data
