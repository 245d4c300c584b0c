// Who calls: the header Authorization against the known keys.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "server/options.h"

namespace moebox {

/// SHA-256, 32 bytes.
std::string sha256(std::string_view text);

class Keys {
 public:
  explicit Keys(std::vector<ApiKey> keys) : keys_(std::move(keys)) {}

  bool empty() const noexcept { return keys_.empty(); }
  int size() const noexcept { return static_cast<int>(keys_.size()); }
  const std::string& name(int index) const { return keys_.at(static_cast<std::size_t>(index)).name; }
  /// SHA-256 of the key: the same whatever order the keys come in.
  const std::string& digest(int index) const { return keys_.at(static_cast<std::size_t>(index)).sha256; }

  /// The index of the key in "Bearer <key>", or nothing. Takes the same time whichever key matches, and whether one
  /// does.
  std::optional<int> find(std::string_view authorization) const;

 private:
  std::vector<ApiKey> keys_;
};

}  // namespace moebox
