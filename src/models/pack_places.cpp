// Where a model's pack file may be.
#include <cstdlib>
#include <string>

#include "base/xxh64.h"
#include "io/checkpoint.h"
#include "models/packing.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;

constexpr const char* extension = ".moebox-pack";

/// Of the user; empty where there is none.
fs::path cache_folder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value != nullptr ? value : "");
  };
  if (const fs::path cache = variable("XDG_CACHE_HOME"); cache.is_absolute()) return cache / "moebox";
  if (const fs::path home = variable("HOME"); home.is_absolute()) return home / ".cache" / "moebox";
  return {};
}

}  // namespace

std::vector<fs::path> pack_file_places(const fs::path& model) {
  std::error_code none;
  fs::path beside = fs::is_directory(model, none) ? model / "weights" : model;
  beside += extension;
  std::vector<fs::path> places = {beside};
  if (const fs::path cache = cache_folder(); !cache.empty()) {
    const std::string whole = fs::weakly_canonical(fs::absolute(beside, none), none).string();
    char name[17];
    std::snprintf(name, sizeof name, "%016llx",
                  static_cast<unsigned long long>(xxh64(std::as_bytes(std::span(whole)))));
    places.push_back(cache / (std::string(name) + extension));
  }
  return places;
}

std::vector<fs::path> pack_file_places(const Checkpoint& checkpoint) {
  if (checkpoint.files().empty()) return {};
  const bool folder = checkpoint.format() == Checkpoint::Format::hugging_face;
  return pack_file_places(folder ? checkpoint.path() : checkpoint.files().front());
}

}  // namespace moebox
