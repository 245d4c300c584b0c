#include "train/export.h"

#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "convert/convert.h"
#include "data/digest.h"
#include "io/output_file.h"
#include "io/safetensors_writer.h"

namespace moebox::train {
namespace {

namespace fs = std::filesystem;

/// What a tokenizer may consist of; templates belong to it.
constexpr const char* tokenizer_files[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",      "vocab.json",
    "merges.txt",     "tokenizer.model",       "chat_template.jinja",     "generation_config.json",
};

[[noreturn]] void refuse_io(const fs::path& path, const std::error_code& error) {
  throw Error(ErrorKind::io, error.message(), path.string());
}

void write_text(const fs::path& path, const std::string& text) {
  OutputFile file(path, false);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

/// Correction biases stay float32, as published models have them: rounding one moves tokens to other experts.
at::ScalarType stored_type(const Weight& weight, bool bf16) {
  return bf16 && weight.kind != WeightKind::statistic ? at::kBFloat16 : at::kFloat;
}

void write_weights(const WeightSet& weights, bool bf16, const fs::path& path) {
  const at::NoGradGuard no_gradient;
  std::vector<SafetensorsEntry> entries;
  std::uint64_t n_bytes = 0;
  for (const Weight& weight : weights.all())
    for (const WeightPart& part : weight.parts) {
      const at::ScalarType type = stored_type(weight, bf16);
      std::uint64_t n = at::elementSize(type);
      for (const std::int64_t size : part.shape) n *= static_cast<std::uint64_t>(size);
      entries.push_back({part.name, type == at::kBFloat16 ? "BF16" : "F32", part.shape, n});
      n_bytes += n;
    }
  const std::string header = safetensors_header(entries, {{"format", "pt"}});
  OutputFile file(path, false);
  file.reserve(header.size() + n_bytes);
  file.write(std::as_bytes(std::span(header)));
  for (const Weight& weight : weights.all())
    for (const WeightPart& part : weight.parts) {
      const Tensor values = part_of(weight.values, part).to(at::kCPU, stored_type(weight, bf16)).contiguous();
      file.write({static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
    }
  file.commit();
}

}  // namespace

void export_folder(const Model& model, const fs::path& folder, const ExportOptions& options) {
  std::error_code error;
  if (!options.replace && fs::exists(folder, error))
    throw Error(ErrorKind::invalid_argument, "it is there already", folder.string(), "take another name");
  nlohmann::json config = model.config();
  if (options.bf16) config["dtype"] = "bfloat16";
  // Beside its place, and moved there when nothing can be missing any more.
  const fs::path part = fs::path(folder) += ".part";
  fs::remove_all(part, error);
  if (!fs::create_directories(part, error)) refuse_io(part, error);
  try {
    write_text(part / "config.json", config.dump(2) + "\n");
    write_weights(model.weights(), options.bf16, part / "model.safetensors");
    if (!options.tokenizer.empty())
      for (const char* name : tokenizer_files) {
        if (!fs::exists(options.tokenizer / name, error)) continue;
        if (!fs::copy_file(options.tokenizer / name, part / name, error)) refuse_io(part / name, error);
      }
  } catch (...) {
    fs::remove_all(part, error);
    throw;
  }
  fs::remove_all(folder, error);
  if (!error) fs::rename(part, folder, error);
  if (error) refuse_io(folder, error);
}

nlohmann::ordered_json tokenizer_digests(const fs::path& folder) {
  nlohmann::ordered_json digests = nlohmann::ordered_json::object();
  std::error_code error;
  for (const char* name : tokenizer_files) {
    if (folder.empty() || !fs::exists(folder / name, error)) continue;
    std::ifstream in(folder / name, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    if (!in) throw Error(ErrorKind::io, "the file cannot be read", (folder / name).string());
    digests[name] = data::hex(data::Hasher().add(text).finish());
  }
  return digests;
}

void export_gguf(const fs::path& folder, const fs::path& file, const std::string& type, bool replace) {
  convert(Checkpoint::open(folder), file, {.type = type, .replace = replace});
}

}  // namespace moebox::train
