#include "hub/hub.h"

#include <algorithm>
#include <fstream>
#include <system_error>
#include <utility>
#include <variant>

#include <fmt/core.h>

#include "base/error.h"
#include "base/file_lock.h"
#include "hub/catalogue.h"
#include "hub/hf_source.h"
#include "hub/partial_file.h"
#include "hub/pip_source.h"
#include "hub/progress.h"
#include "hub/source.h"
#include "hub/store.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;

bool looks_like_a_path(std::string_view model) {
  return model.find('/') != std::string_view::npos || model.ends_with(".gguf") || model == "." || model == "..";
}

void create_folders(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw Error(ErrorKind::io, "the folder cannot be made: " + error.message(), folder.string(),
                "MOEBOX_STORE puts the store elsewhere");
  }
}

void write_note(const fs::path& path, const std::string& text) {
  const fs::path written = part_path(path);
  std::ofstream file(written, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) throw Error(ErrorKind::io, "cannot be written", written.string());
  fs::rename(written, path);
}

}  // namespace

/// What a model's name was understood to mean.
struct Hub::Wanted {
  Source source;
  std::string source_text;
  std::optional<Place> place;  // nothing: a path, outside of the store
  std::uint64_t size_bytes = 0;
  std::string sha256;
};

Hub::Hub(HubOptions options) : options_(std::move(options)) {
  if (options_.store.empty())
    throw Error(ErrorKind::invalid_argument, "the store has no folder", {}, "set MOEBOX_STORE");
  options_.store = fs::absolute(options_.store).lexically_normal();
  if (options_.store.filename().empty()) options_.store = options_.store.parent_path();
  // Programs are started in other folders than ours.
  if (options_.python.find('/') != std::string::npos) options_.python = fs::absolute(options_.python).string();
  catalogue_ = parse_catalogue(builtin_catalogue_json(), "(built in)");
  for (const fs::path& path : options_.catalogues) {
    merge_catalogue(catalogue_, read_catalogue(path));
    check_files(catalogue_, path.string());
  }
}

Hub::Wanted Hub::understand(std::string_view model) const {
  const Store store(options_.store);
  const auto entry = std::find_if(catalogue_.begin(), catalogue_.end(), [&](const auto& e) { return e.name == model; });
  Wanted wanted;
  wanted.source_text = entry == catalogue_.end() ? std::string(model) : entry->source;
  wanted.source = parse_source(wanted.source_text);
  if (entry != catalogue_.end()) {
    wanted.size_bytes = entry->size_bytes;
    wanted.sha256 = entry->sha256;
    if (!std::holds_alternative<PathSource>(wanted.source)) wanted.place = store.place_of(*entry);
  } else if (const auto* hf = std::get_if<HfSource>(&wanted.source)) {
    wanted.place = store.place_of(*hf);
  } else if (const auto* pip = std::get_if<PipSource>(&wanted.source)) {
    wanted.place = store.place_of(*pip, wanted.source_text);
  } else {
    wanted.place = store.place_of_name(model);
  }
  return wanted;
}

std::optional<fs::path> Hub::find(std::string_view model) const {
  const Wanted wanted = understand(model);
  if (wanted.place) return Store::find(*wanted.place, wanted.size_bytes);
  const fs::path& path = std::get<PathSource>(wanted.source).path;
  std::error_code error;
  if (fs::exists(path, error)) return path;
  return std::nullopt;
}

void Hub::fail_unknown(std::string_view model) const {
  const std::string forms =
      "a model is a name of the catalogue, a path to a .gguf file or a folder, hf:owner/repo[/file][@revision], or "
      "pip:package==version#member";
  const auto entry = std::find_if(catalogue_.begin(), catalogue_.end(), [&](const auto& e) { return e.name == model; });
  if (entry != catalogue_.end())
    throw Error(ErrorKind::not_found, "the catalogue says that it is a file of this machine, but there is none",
                entry->source);
  std::string nearest;
  for (const std::string& name : nearest_names(catalogue_, model)) nearest += (nearest.empty() ? "" : ", ") + name;
  if (looks_like_a_path(model)) {
    const bool like_a_repository =
        std::count(model.begin(), model.end(), '/') >= 1 && !model.starts_with(".") && !model.starts_with("/");
    throw Error(
        ErrorKind::not_found, "there is no such file or folder", printable(model),
        like_a_repository ? fmt::format("if it is a repository of the hub, write hf:{}", printable(model)) : forms);
  }
  throw Error(ErrorKind::not_found, fmt::format("there is no model called \"{}\"", printable(model)), {},
              nearest.empty() ? forms : fmt::format("did you mean {}? Otherwise: {}", nearest, forms));
}

fs::path Hub::pull(std::string_view model, const PullProgress& progress) {
  if (const auto path = find(model)) return *path;
  const Wanted wanted = understand(model);
  if (!wanted.place) fail_unknown(model);
  const Place& place = *wanted.place;
  create_folders(place.lock.parent_path());

  ProgressReporter waiting_reporter(std::string(model), wanted.size_bytes, progress);
  bool told = false;
  const FileLock lock = FileLock::acquire(place.lock, [&] {
    if (!told && options_.notice)
      options_.notice(fmt::format("another pull of {} is under way: waiting for it", printable(model)));
    told = true;
    waiting_reporter.report(place.file.empty() ? 0 : bytes_at(part_path(place.file)));
  });
  if (const auto path = Store::find(place, wanted.size_bytes)) return *path;

  if (const auto* pip = std::get_if<PipSource>(&wanted.source)) {
    create_folders(place.file.parent_path());
    if (!place.owned_folder.empty()) write_note(place.owned_folder / "source", wanted.source_text);
    pull_pip(*pip, place.file, wanted.size_bytes, wanted.sha256, options_, progress, lock.fd());
  } else {
    pull_hf(std::get<HfSource>(wanted.source), place, wanted.size_bytes, wanted.sha256, options_, progress);
  }
  const auto path = Store::find(place, wanted.size_bytes);
  if (!path) throw Error(ErrorKind::internal, "a pull ended well, but the model is not there", place.file.string());
  return *path;
}

std::vector<StoredModel> Hub::list() const { return Store(options_.store).list(catalogue_); }

void Hub::remove(std::string_view model) {
  const Wanted wanted = understand(model);
  if (!wanted.place) {
    const fs::path& path = std::get<PathSource>(wanted.source).path;
    if (!fs::exists(path)) fail_unknown(model);
    throw Error(ErrorKind::invalid_argument, "lies outside of the store", path.string(), "delete it yourself");
  }
  std::error_code error;
  bool removed = false;
  if (fs::is_directory(wanted.place->lock.parent_path(), error)) {
    const auto lock = FileLock::try_acquire(wanted.place->lock);
    if (!lock)
      throw Error(ErrorKind::resource, "is being pulled", std::string(printable(model)), "stop that pull first");
    removed = Store(options_.store).remove(*wanted.place);
  }
  if (!removed) {
    throw Error(ErrorKind::not_found, fmt::format("the store has no \"{}\"", printable(model)), options_.store.string(),
                "moebox list shows what it has");
  }
}

}  // namespace moebox
