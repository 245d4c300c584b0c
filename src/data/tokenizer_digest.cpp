#include "data/tokenizer_digest.h"

#include "data/digest.h"

namespace moebox::data {
namespace {

// What pre-tokenizers disagree on: digits, contractions, spaces, line ends, scripts, marks, symbols.
constexpr std::string_view probe =
    "I'll say 'WE'VE 1234567890 things' twice\u2026 3.14 x 10^-5  \t two  spaces\n\n  indented:\r\n"
    "def f(x):\n    return x**2 if x>=0 else -x\n// \xE4\xB8\xAD\xE6\x96\x87\xEF\xBC\x8C\xE6\xB1\x89\xE5\xAD\x97"
    "\xE3\x80\x82 2024\xE5\xB9\xB4 \xE3\x81\xB2\xE3\x82\x89 \xED\x95\x9C\xEA\xB8\x80 na\xC3\xAFve e\xCC\x81 "
    "\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82 \xF0\x9F\x98\x80\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD "
    "_snake_CamelCase "
    "<b>&amp;</b> a_b c-d $9.99 #tag @me https://x.y/z?q=1 !!!??? \xEF\xBD\x81\xEF\xBC\x91\xE3\x80\x80 end\n";

}  // namespace

int used_vocabulary(const Tokenizer& tokenizer) {
  int size = tokenizer.vocab_size();
  while (size > 0 && tokenizer.token_kind(size - 1) == TokenKind::unused) --size;
  return size;
}

std::string tokenizer_digest(const Tokenizer& tokenizer) {
  Hasher hasher;
  hasher.add("moebox tokenizer 1");
  const int size = used_vocabulary(tokenizer);
  hasher.add_number(static_cast<std::uint64_t>(size));
  for (TokenId id = 0; id < size; ++id) {
    const std::string_view bytes = tokenizer.token_bytes(id, true);
    hasher.add_number(bytes.size()).add(bytes);
  }
  for (const TokenId id : tokenizer.encode(probe)) hasher.add_number(static_cast<std::uint64_t>(id));
  return hex(hasher.finish());
}

}  // namespace moebox::data
