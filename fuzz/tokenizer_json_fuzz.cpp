// Any bytes as a tokenizer.json: an Error, or a tokenizer that keeps its promises.
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "tokenizer_use.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  try {
    moebox::use_tokenizer(moebox::Tokenizer::from_json(file), file);
  } catch (const moebox::Error&) {
  }
  return 0;
}
