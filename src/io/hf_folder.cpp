#include "io/hf_folder.h"

#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json_file.h"
#include "io/quote.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_index_bytes = 100'000'000;
constexpr std::size_t max_shards = 10'000;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

/// Whether `name` is a file's name and not a way out of the folder.
bool is_plain_file_name(std::string_view name) {
  return name.ends_with(".safetensors") && name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

HfFiles read_index(const fs::path& path) {
  const nlohmann::json index = read_json_file(path, max_index_bytes);
  const auto invalid = [&](const std::string& message, const char* hint = "") {
    return Error(ErrorKind::invalid_file, message, path.string(), hint);
  };
  if (!index.is_object() || !index.contains("weight_map") || !index.at("weight_map").is_object()) {
    throw invalid("expected an object with the object 'weight_map'");
  }
  const nlohmann::json& weight_map = index.at("weight_map");
  std::map<std::string_view, std::size_t> number_of_file;
  for (const auto& [tensor, file] : weight_map.items()) {
    if (!file.is_string()) throw invalid("weight_map of " + quote(tensor) + " must be a file name");
    const auto& name = file.get_ref<const std::string&>();
    if (!is_plain_file_name(name)) {
      throw invalid(
          "weight_map of " + quote(tensor) + " must name a .safetensors file in this folder, found " + quote(name),
          "an index that points elsewhere is damaged or hostile");
    }
    number_of_file.emplace(name, 0);
  }
  if (number_of_file.empty()) throw invalid("weight_map names no tensor");
  if (number_of_file.size() > max_shards) throw invalid(fmt::format("weight_map names more than {} files", max_shards));

  HfFiles files;
  for (auto& [name, number] : number_of_file) {
    number = files.paths.size();
    files.paths.push_back(path.parent_path() / name);
  }
  for (const auto& [tensor, file] : weight_map.items()) {
    files.file_of_tensor.emplace(tensor, number_of_file.at(file.get_ref<const std::string&>()));
  }
  return files;
}

}  // namespace

HfFiles find_safetensors(const fs::path& folder) {
  // The same order as transformers: a single file hides an index.
  if (is_there(folder / "model.safetensors")) return {{folder / "model.safetensors"}, {}};
  if (is_there(folder / "model.safetensors.index.json")) return read_index(folder / "model.safetensors.index.json");
  throw Error(ErrorKind::not_found, "neither model.safetensors nor model.safetensors.index.json is there",
              folder.string(), "fetch the model's safetensors files; moebox never reads pickled weights (.bin, .pt)");
}

}  // namespace moebox
