#include "train/checkpoint_store.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <system_error>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include "base/error.h"
#include "data/digest.h"
#include "io/json_file.h"
#include "io/mapped_file.h"
#include "io/output_file.h"
#include "io/safetensors.h"
#include "io/safetensors_writer.h"

namespace moebox::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* manifest_name = "checkpoint.json";
constexpr std::string_view prefix = "step-";
constexpr const char* unfinished_ending = ".part";

[[noreturn]] void refuse_damaged(const std::string& what, const fs::path& place) {
  throw Error(ErrorKind::invalid_file, what, place.string(), "the checkpoint is damaged; an older one may do");
}

/// A name is durable when its folder is.
void make_durable(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool done = fd >= 0 && ::fsync(fd) == 0;
  const int problem = errno;
  if (fd >= 0) ::close(fd);
  if (!done) throw Error(ErrorKind::io, std::strerror(problem), folder.string());
}

std::uint64_t bytes_of(const Tensor& values) { return static_cast<std::uint64_t>(values.numel()) * sizeof(float); }

/// One safetensors file of these tensors; its record for the manifest.
nlohmann::ordered_json write_tensors(std::span<const NamedTensor> tensors, const fs::path& path) {
  std::vector<SafetensorsEntry> entries;
  std::uint64_t n_bytes = 0;
  for (const NamedTensor& tensor : tensors) {
    const auto sizes = tensor.values.sizes();
    entries.push_back({tensor.name, "F32", {sizes.begin(), sizes.end()}, bytes_of(tensor.values)});
    n_bytes += entries.back().n_bytes;
  }
  const std::string header = safetensors_header(entries, {});
  OutputFile file(path, false);
  file.reserve(header.size() + n_bytes);
  data::Hasher digest;
  const auto write = [&](std::span<const std::byte> bytes) {
    digest.add(bytes);
    file.write(bytes);
  };
  write(std::as_bytes(std::span(header)));
  for (const NamedTensor& tensor : tensors) {
    const Tensor values = tensor.values.detach().to(at::kCPU, at::kFloat).contiguous();
    write({static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
  }
  file.commit();
  return {{"bytes", file.written_bytes()}, {"blake2b", data::hex(digest.finish())}};
}

}  // namespace

struct CheckpointStore::Files {
  nlohmann::json facts;
  std::vector<MappedFile> files;
};

fs::path CheckpointStore::place(std::int64_t step) const { return folder_ / fmt::format("{}{:08}", prefix, step); }

fs::path CheckpointStore::unfinished(std::int64_t step) const { return fs::path(place(step)) += unfinished_ending; }

void CheckpointStore::write(const Snapshot& snapshot, std::uint64_t file_bytes) const {
  begin(snapshot.step);
  try {
    commit(snapshot.step, snapshot.facts, write_files(snapshot.step, snapshot.tensors, 0, file_bytes));
  } catch (...) {
    abandon(snapshot.step);
    throw;
  }
}

void CheckpointStore::begin(std::int64_t step) const {
  const fs::path folder = unfinished(step);
  std::error_code error;
  fs::remove_all(folder, error);
  fs::create_directories(folder, error);
  if (error) throw Error(ErrorKind::io, error.message(), folder.string());
}

nlohmann::ordered_json CheckpointStore::write_files(std::int64_t step, const std::vector<NamedTensor>& tensors,
                                                    int writer, std::uint64_t file_bytes) const {
  nlohmann::ordered_json files = nlohmann::ordered_json::object();
  for (std::size_t first = 0; first < tensors.size();) {
    std::size_t last = first;
    for (std::uint64_t n = 0;
         last < tensors.size() && (last == first || n + bytes_of(tensors[last].values) <= file_bytes); ++last)
      n += bytes_of(tensors[last].values);
    const std::string rank = writer == 0 ? "" : fmt::format("rank-{}-", writer);
    const std::string name = fmt::format("state-{}{:05}.safetensors", rank, files.size() + 1);
    files[name] = write_tensors(std::span(tensors).subspan(first, last - first), unfinished(step) / name);
    first = last;
  }
  return files;
}

void CheckpointStore::commit(std::int64_t step, const nlohmann::ordered_json& facts,
                             const nlohmann::ordered_json& files) const {
  const fs::path from = unfinished(step), to = place(step);
  nlohmann::ordered_json manifest = {{"moebox_checkpoint", 1}, {"step", step}, {"facts", facts}, {"files", files}};
  manifest["blake2b"] = data::hex(data::Hasher().add(manifest.dump()).finish());
  OutputFile file(from / manifest_name, false);
  const std::string text = manifest.dump(1) + "\n";
  file.write(std::as_bytes(std::span(text)));
  file.commit();
  make_durable(from);
  std::error_code error;
  fs::remove_all(to, error);
  fs::rename(from, to, error);
  if (error) throw Error(ErrorKind::io, error.message(), to.string());
  make_durable(folder_);
}

void CheckpointStore::abandon(std::int64_t step) const noexcept {
  std::error_code ignored;
  fs::remove_all(unfinished(step), ignored);
}

std::vector<std::int64_t> CheckpointStore::steps() const {
  std::vector<std::int64_t> steps;
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    std::int64_t step = 0;
    const auto [rest, problem] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), step);
    if (problem == std::errc() && rest == name.data() + name.size() && name == place(step).filename())
      steps.push_back(step);
  }
  std::ranges::sort(steps);
  return steps;
}

CheckpointStore::Files CheckpointStore::open(std::int64_t step) const {
  const fs::path folder = place(step), path = folder / manifest_name;
  read_json_file(path);  // strictly; what is hashed keeps its order
  const MappedFile text(path);
  auto manifest = nlohmann::ordered_json::parse(
      std::string_view(reinterpret_cast<const char*>(text.bytes().data()), text.bytes().size()));
  if (!manifest.is_object() || !manifest.contains("blake2b")) refuse_damaged("expected a checkpoint's manifest", path);
  const nlohmann::ordered_json digest = manifest["blake2b"];
  manifest.erase("blake2b");
  if (digest != data::hex(data::Hasher().add(manifest.dump()).finish()))
    refuse_damaged("the manifest is not what its checksum says", path);
  try {
    if (manifest.at("moebox_checkpoint") != 1)
      throw Error(ErrorKind::unsupported, "the checkpoint is of another version of moebox", path.string());
    if (manifest.at("step") != step) refuse_damaged(fmt::format("expected step {}", step), path);
    Files opened;
    opened.facts = nlohmann::json::parse(manifest.at("facts").dump());
    for (const auto& [name, record] : manifest.at("files").items()) {
      if (fs::path(name).filename() != name) refuse_damaged("expected files of this folder, found " + name, path);
      std::error_code error;
      if (!fs::is_regular_file(folder / name, error)) refuse_damaged("the file is missing", folder / name);
      MappedFile file(folder / name);
      if (record.at("bytes") != file.bytes().size() || record.at("blake2b") != data::hex(data::digest_of(file.bytes())))
        refuse_damaged("the file is not what its checksum says", file.path());
      opened.files.push_back(std::move(file));
    }
    return opened;
  } catch (const nlohmann::json::exception& problem) {  // a checksum of its own does not make it a manifest
    refuse_damaged(problem.what(), path);
  }
}

nlohmann::json CheckpointStore::check(std::int64_t step) const { return open(step).facts; }

nlohmann::json CheckpointStore::read(std::int64_t step, const std::vector<NamedTensor>& into) const {
  const Files opened = open(step);
  std::map<std::string, TensorView> stored;
  for (const MappedFile& file : opened.files)
    for (const TensorView& view : parse_safetensors(file.bytes(), file.path().string()))
      stored.emplace(view.name, view);
  const auto sizes_of = [](const TensorView& view) {
    return std::vector<std::int64_t>(view.shape.begin(), view.shape.begin() + view.rank);
  };
  for (const NamedTensor& tensor : into) {
    const auto found = stored.find(tensor.name);
    if (found == stored.end() || found->second.dtype != DType::f32 || tensor.values.sizes() != sizes_of(found->second))
      refuse_damaged("the tensor is missing, or of another shape: " + tensor.name, place(step));
  }
  const at::NoGradGuard no_gradient;
  for (const NamedTensor& tensor : into) {
    const TensorView& view = stored.at(tensor.name);
    const Tensor values = at::empty(tensor.values.sizes(), at::kFloat);
    std::memcpy(values.mutable_data_ptr(), view.data.data(), values.nbytes());
    tensor.values.detach().copy_(values);
  }
  return opened.facts;
}

void CheckpointStore::keep_newest(int n) const {
  const std::vector<std::int64_t> all = steps();
  std::error_code ignored;
  for (std::size_t i = 0; i + static_cast<std::size_t>(n) < all.size(); ++i) fs::remove_all(place(all[i]), ignored);
}

void CheckpointStore::remove_after(std::int64_t step) const {
  std::error_code ignored;
  for (const std::int64_t one : steps())
    if (one > step) fs::remove_all(place(one), ignored);
}

void CheckpointStore::remove_unfinished() const {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    const fs::path& path = it->path();
    if (path.filename().string().starts_with(prefix) && path.extension() == unfinished_ending) found.push_back(path);
  }
  for (const fs::path& path : found) fs::remove_all(path, error);
}

}  // namespace moebox::train
