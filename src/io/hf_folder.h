// A Hugging Face model folder: which of its safetensors files make up the model.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace moebox {

/// The files of a model, in the order of their names.
struct HfFiles {
  std::vector<std::filesystem::path> paths;
  /// Of a sharded model: which of `paths` each tensor is in, by the index. Empty for a model in one file.
  std::map<std::string, std::size_t, std::less<>> file_of_tensor;
};

/// `model.safetensors`, or else what `model.safetensors.index.json` lists. The index may name files in the folder only.
/// Throws Error.
HfFiles find_safetensors(const std::filesystem::path& folder);

}  // namespace moebox
