// Any bytes as a safetensors file: an Error, or tensors that lie inside.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "io/safetensors.h"
#include "read_tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    moebox::read_tensors(moebox::parse_safetensors(std::as_bytes(std::span(data, size)), "fuzz.safetensors"));
  } catch (const moebox::Error&) {
  }
  return 0;
}
