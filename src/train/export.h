// A trained model as files that others read: a Hugging Face folder, and GGUF made of it.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "train/model.h"

namespace moebox::train {

struct ExportOptions {
  bool bf16 = false;                  // the folder's type, but for correction biases; otherwise F32
  std::filesystem::path tokenizer{};  // a folder whose tokenizer's files are copied; empty: there are none
  bool replace = false;               // a folder that is there already
};

/// Writes config.json, model.safetensors and the tokenizer's files. The folder appears under its name when it is
/// complete. Throws Error: invalid_argument (it is there), unsupported (what config.json cannot say), io.
void export_folder(const Model& model, const std::filesystem::path& folder, const ExportOptions& options);

/// The files of a tokenizer's folder that go with a model, each with the BLAKE2b of its content; of no folder: {}.
nlohmann::ordered_json tokenizer_digests(const std::filesystem::path& folder);

/// Makes a GGUF file of an exported folder; `type` is a recipe of `moebox convert` ("F32", "BF16", "Q8_0").
void export_gguf(const std::filesystem::path& folder, const std::filesystem::path& file, const std::string& type,
                 bool replace);

}  // namespace moebox::train
