// Converting a checkpoint into one GGUF file: a Hugging Face folder, or GGUF in other types.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "tensor/dtype.h"

namespace moebox {

/// Called now and then with the bytes written so far; returns false to stop.
using ConvertProgress = std::function<bool(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

struct ConvertOptions {
  std::string type = "Q8_0";   // a recipe's name
  bool replace = false;        // a file that is there already
  bool measure_error = false;  // ConvertedTensor::relative_error
  bool keep_mtp = true;        // where there is one: the layer that predicts a further token; false is for folders
  bool whole_kv_b = false;     // DeepSeek with kv_b as one tensor, as older files have it
  int n_threads = 0;           // 0: the processors that this process may use
  ConvertProgress progress{};
};

struct ConvertedTensor {
  std::string name;
  std::vector<std::int64_t> shape;  // slowest dimension first
  DType from, to;
  double relative_error = 0;  // RMS of the difference over RMS of the values
};

struct ConvertReport {
  std::vector<ConvertedTensor> tensors;
  std::uint64_t file_bytes = 0;
  bool has_tokenizer = true;
  bool quantized_again = false;  // some tensors were in blocks already: errors add up
};

/// Reads tensor by tensor and writes `out` as it goes: the memory is that of the largest tensor's pages and a few tens
/// of megabytes. The file appears under its name when it is complete. Throws Error: invalid_argument (the type; `out`
/// is there, or is what is read), unsupported (what GGUF cannot express, by name), invalid_file (a NaN or an infinity,
/// by tensor), io (the disk is full), cancelled.
ConvertReport convert(const Checkpoint& checkpoint, const std::filesystem::path& out, const ConvertOptions& options);

}  // namespace moebox
