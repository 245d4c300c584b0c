// Any bytes as a GGUF file: an Error, or tensors that lie inside.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "io/gguf.h"
#include "read_tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    moebox::read_tensors(moebox::parse_gguf(std::as_bytes(std::span(data, size)), "fuzz.gguf").tensors);
  } catch (const moebox::Error&) {
  }
  return 0;
}
