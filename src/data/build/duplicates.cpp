#include "data/build/duplicates.h"

#include <cstring>

namespace moebox::data {

TextKey text_key(std::string_view text) noexcept {
  const Digest digest = Hasher().add(text).finish();
  TextKey key;
  std::memcpy(&key.low, digest.data(), sizeof key.low);
  std::memcpy(&key.high, digest.data() + sizeof key.low, sizeof key.high);
  return key;
}

}  // namespace moebox::data
