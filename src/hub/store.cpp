#include "hub/store.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <system_error>

#include <fmt/core.h>

#include "hub/digest.h"
#include "hub/partial_file.h"
#include "hub/pip_source.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;

constexpr int max_split_parts = 10000;

fs::path lock_beside(fs::path path) {
  path += ".lock";
  return path;
}

/// A revision as one folder: refs/pr/1 -> refs%2Fpr%2F1. A revision never holds '%'.
std::string as_folder(const std::string& revision) {
  std::string result;
  for (const char c : revision) result += c == '/' ? "%2F" : std::string(1, c);
  return result;
}

std::string short_hash(std::string_view text) {
  Hasher hasher(DigestKind::sha256, 0);
  hasher.update(text);
  return hasher.finish().substr(0, 32);
}

std::string as_revision(std::string folder) {
  for (auto at = folder.find("%2F"); at != std::string::npos; at = folder.find("%2F", at)) folder.replace(at, 3, "/");
  return folder;
}

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool all_parts_there(const fs::path& file) {
  const auto parts = split_parts(file.filename().string());
  return std::all_of(parts.begin(), parts.end(), [&](const auto& part) { return is_file(file.parent_path() / part); });
}

std::string read_note(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(8192, '\0');
  if (!file) return {};
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

std::vector<fs::path> children(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> result;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    result.push_back(it->path());
  std::sort(result.begin(), result.end());
  return result;
}

std::vector<fs::path> gguf_files_below(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> result;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (is_file(it->path()) && it->path().extension() == ".gguf") result.push_back(it->path());
  }
  std::sort(result.begin(), result.end());
  return result;
}

/// A part of a split file other than its first is not a model of its own.
bool is_later_part(const fs::path& file) {
  const std::string name = file.filename().string();
  const auto of = name.rfind("-of-");
  return of != std::string::npos && of >= 6 && name[of - 6] == '-' && name.substr(of - 5, 5) != "00001" &&
         split_parts(name.substr(0, of - 5) + "00001" + name.substr(of)).size() > 1;
}

StoredModel describe(std::string name, const fs::path& path) {
  std::uint64_t size = 0;
  if (is_folder(path)) {
    size = bytes_at(path);
  } else {
    for (const auto& part : split_parts(path.filename().string())) size += bytes_at(path.parent_path() / part);
  }
  std::error_code error;
  const auto written = fs::last_write_time(path, error);
  const auto system = std::chrono::file_clock::to_sys(written);
  const auto seconds = error ? 0 : std::chrono::duration_cast<std::chrono::seconds>(system.time_since_epoch()).count();
  return {std::move(name), path, size, seconds};
}

}  // namespace

std::vector<std::string> split_parts(const std::string& name) {
  // <stem>-00001-of-00003.gguf
  constexpr std::size_t tail = sizeof("-00001-of-00003.gguf") - 1;
  const auto is_count = [](const std::string& digits) {
    return std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  if (name.size() <= tail || !name.ends_with(".gguf")) return {name};
  const std::string stem = name.substr(0, name.size() - tail), end = name.substr(name.size() - tail);
  if (end.substr(0, 10) != "-00001-of-" || !is_count(end.substr(10, 5))) return {name};
  const int count = std::stoi(end.substr(10, 5));
  if (count < 1 || count > max_split_parts) return {name};
  std::vector<std::string> parts;
  for (int i = 1; i <= count; ++i) parts.push_back(fmt::format("{}-{:05}-of-{:05}.gguf", stem, i, count));
  return parts;
}

std::uint64_t bytes_at(const fs::path& path) {
  std::error_code error;
  if (!is_folder(path)) {
    const auto size = fs::file_size(path, error);
    return error ? 0 : size;
  }
  std::uint64_t total = 0;
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (is_file(it->path())) total += bytes_at(it->path());
  }
  return total;
}

Place Store::place_of(const CatalogueEntry& entry) const {
  const fs::path path = root_ / entry.file;
  Place place{path, {}, {}, lock_beside(path), {}};
  if (path.extension() != ".gguf") std::swap(place.file, place.folder);
  return place;
}

Place Store::place_of(const HfSource& source) const {
  const fs::path folder = root_ / "hf" / source.owner / source.repo / as_folder(source.revision);
  // One lock for a revision: its single files and its folder are pulled one after the other.
  const std::string lock = fmt::format(".{}.lock", short_hash(folder.lexically_relative(root_).string()));
  Place place{{}, {}, {}, root_ / lock, folder};
  if (!source.file.empty()) {
    place.file = folder / "files" / source.file;
    place.owned_folder.clear();
  } else {
    place.folder = folder / "folder";
    place.chosen = folder / "chosen";
  }
  return place;
}

Place Store::place_of(const PipSource& source, std::string_view text) const {
  const std::string hash = short_hash(text);
  const fs::path folder = root_ / "pip" / hash;
  return {folder / fs::path(source.member_of(0)).filename(), {}, {}, root_ / fmt::format(".{}.lock", hash), folder};
}

std::optional<Place> Store::place_of_name(std::string_view name) const {
  if (!is_safe_file_name(name) || name == "hf" || name == "pip") return std::nullopt;
  const fs::path path = root_ / name;
  if (is_folder(path) && is_file(path / "config.json")) return Place{{}, path, {}, lock_beside(path), {}};
  if (is_file(path) && path.extension() == ".gguf") return Place{path, {}, {}, lock_beside(path), {}};
  return std::nullopt;
}

std::optional<fs::path> Store::find(const Place& place, std::uint64_t size_bytes) {
  if (!place.folder.empty() && is_folder(place.folder)) return place.folder;
  fs::path file = place.file;
  if (!place.chosen.empty()) {
    const std::string chosen = read_note(place.chosen);
    if (is_safe_relative_path(chosen)) file = place.owned_folder / "files" / chosen;
  }
  if (file.empty() || !all_parts_there(file)) return std::nullopt;
  // A file of another size is not what the catalogue means (an earlier version of the entry): it is pulled anew.
  if (size_bytes != 0 && split_parts(file.filename().string()).size() == 1 && bytes_at(file) != size_bytes)
    return std::nullopt;
  return file;
}

bool Store::remove(const Place& place) const {
  std::error_code ignored;
  bool any = false;
  if (!place.file.empty()) {
    for (const auto& name : split_parts(place.file.filename().string())) {
      const fs::path file = place.file.parent_path() / name;
      any |= remove_partial(file);
      any |= fs::remove(file, ignored);
    }
    any |= fs::remove_all(wheels_path(place.file), ignored) > 0;
  }
  if (!place.folder.empty()) {
    any |= fs::remove_all(part_path(place.folder), ignored) > 0;
    any |= fs::remove_all(place.folder, ignored) > 0;
  }
  if (!place.owned_folder.empty()) any |= fs::remove_all(place.owned_folder, ignored) > 0;

  // Folders that are empty now go as well, up to the store itself.
  const fs::path start = !place.owned_folder.empty() ? place.owned_folder
                         : !place.file.empty()       ? place.file
                                                     : place.folder;
  for (fs::path folder = start.parent_path(); folder != root_ && folder.string().size() > root_.string().size();
       folder = folder.parent_path()) {
    if (!fs::remove(folder, ignored)) break;
  }
  return any;
}

std::vector<StoredModel> Store::list(const std::vector<CatalogueEntry>& catalogue) const {
  std::vector<StoredModel> result;
  for (const fs::path& path : children(root_)) {
    const std::string name = path.filename().string();
    if (!place_of_name(name) || is_later_part(path) || !(is_folder(path) || all_parts_there(path))) continue;
    const auto entry = std::find_if(catalogue.begin(), catalogue.end(), [&](const auto& e) { return e.file == name; });
    result.push_back(describe(entry == catalogue.end() ? name : entry->name, path));
  }
  for (const fs::path& owner : children(root_ / "hf")) {
    for (const fs::path& repo : children(owner)) {
      for (const fs::path& revision : children(repo)) {
        const std::string base = fmt::format("hf:{}/{}", owner.filename().string(), repo.filename().string());
        const std::string name = as_revision(revision.filename().string());
        const std::string at = name == "main" ? "" : "@" + name;
        if (is_folder(revision / "folder")) result.push_back(describe(base + at, revision / "folder"));
        for (const fs::path& file : gguf_files_below(revision / "files")) {
          if (is_later_part(file) || !all_parts_there(file)) continue;
          result.push_back(
              describe(fmt::format("{}/{}{}", base, file.lexically_relative(revision / "files").string(), at), file));
        }
      }
    }
  }
  for (const fs::path& folder : children(root_ / "pip")) {
    const std::string source = read_note(folder / "source");
    for (const fs::path& file : children(folder)) {
      if (!source.empty() && is_file(file) && file.filename() != "source" && file.extension() != ".part" &&
          file.extension() != ".json") {
        result.push_back(describe(source, file));
      }
    }
  }
  return result;
}

}  // namespace moebox
