#include "models/weights.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <string>

#include "base/checked.h"
#include "base/error.h"
#include "base/log.h"
#include "io/checkpoint.h"
#include "models/pack_file.h"
#include "spec/tensor_table.h"
#include "tensor/dequantize.h"

namespace moebox {
namespace {

bool uses_cache(const ModelOptions& options, int top_k) noexcept { return options.expert_cache_bytes > 0 && top_k > 0; }

Weights pack_in_memory(const WeightPlan& plan, const Checkpoint& checkpoint, ThreadTeam& team) {
  Weights weights{AnonymousMemory(plan.total_bytes(), "weights", true), {}, {}};
  for (const PlannedMatrix& matrix : plan.matrices()) {
    std::byte* panels = weights.memory.data() + matrix.offset;
    matrix.target->data = panels;
    matrix.stored.pack(*matrix.target, panels, team);
    checkpoint.release(matrix.stored.view);
  }
  return weights;
}

Weights map_pack(const PackFile& file, const WeightPlan& plan, ThreadTeam& team) {
  Weights weights{{}, file.map(), {}};
  const std::byte* data = weights.file.bytes().data() + PackFile::data_offset;
  file.check(plan, data, team, [](const WeightSection&) { return true; });
  for (const PlannedMatrix& matrix : plan.matrices()) matrix.target->data = data + matrix.offset;
  return weights;
}

/// Everything but the routed experts in memory, and these in a cache.
Weights read_beside_cache(PackFile file, const WeightPlan& plan, std::size_t cache_bytes, int top_k, ThreadTeam& team) {
  Weights weights;
  // Places are those of the file: what lies between is never touched, and takes no memory.
  weights.memory = AnonymousMemory(plan.total_bytes(), "weights", true);
  weights.experts = std::make_unique<ExpertCache>(std::move(file), plan, cache_bytes, top_k);
  std::vector<ExpertReader::Job> jobs(plan.sections().size());
  std::atomic<std::size_t> next{0};
  team.run([&](const TeamMember&) {
    for (std::size_t i = next++; i < jobs.size(); i = next++) {
      const WeightSection& section = plan.sections()[i];
      if (section.is_expert()) continue;
      jobs[i].section = &section;
      jobs[i].to = weights.memory.data() + section.offset;
      weights.experts->reader().read(jobs[i]);
    }
  });
  for (const ExpertReader::Job& job : jobs)
    if (job.state == ExpertReader::Job::failed) weights.experts->raise({job.section, job.error});
  for (const WeightSection& section : plan.sections())
    for (const PlannedMatrix& matrix : plan.matrices(section))
      matrix.target->data = section.is_expert() ? nullptr : weights.memory.data() + matrix.offset;
  return weights;
}

/// The first of the places where a pack file holds, as far as its header and its checksums say. What is there and does
/// not hold is told by `refused`.
template <class Refused>
std::optional<PackFile> find_pack(const Checkpoint& checkpoint, const PackHeader& header, Refused&& refused) {
  for (const auto& path : pack_file_places(checkpoint)) {
    try {
      return PackFile::open(path, header, checkpoint);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::not_found) refused(error);
    }
  }
  return {};
}

void log_refused(const Error& error) {
  log(LogLevel::warning, "pack file is not used", {{"file", error.where()}, {"reason", error.message()}});
}

/// What a pack file's state is before anything is done about it.
PackFileState state_of(const Checkpoint& checkpoint, const PackHeader& header) {
  PackFileState state;
  state.bytes = header.file_bytes;
  const auto found = find_pack(checkpoint, header, [&](const Error& error) {
    if (!state.path.empty()) return;  // the place beside the model tells more
    state.path = error.where();
    state.reason = error.message();
  });
  if (found) {
    state.path = found->path();
    state.usable = true;
    state.reason.clear();
  }
  if (state.path.empty() && !pack_file_places(checkpoint).empty()) state.path = pack_file_places(checkpoint).front();
  return state;
}

/// Writes to the first place that can be written; the path.
std::filesystem::path write_somewhere(const Checkpoint& checkpoint, const PackHeader& header, const WeightPlan& plan,
                                      ThreadTeam& team, const PackWriteOptions& options) {
  if (!options.path.empty()) {
    write_pack(options.path, header, plan, checkpoint, team, options.progress);
    return options.path;
  }
  const auto places = pack_file_places(checkpoint);
  for (std::size_t i = 0; i < places.size(); ++i) {
    std::error_code none;
    if (i > 0) std::filesystem::create_directories(places[i].parent_path(), none);
    try {
      write_pack(places[i], header, plan, checkpoint, team, options.progress);
      return places[i];
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::io || i + 1 == places.size()) throw;
      log(LogLevel::info, "pack file goes to the cache folder",
          {{"instead of", places[i].string()}, {"reason", error.message()}});
    }
  }
  throw Error(ErrorKind::internal, "a checkpoint without files has no place for a pack file");
}

Weights load(const WeightPlan& plan, const Checkpoint& checkpoint, ThreadTeam& team, const ModelOptions& options,
             int top_k) {
  const bool cached = uses_cache(options, top_k);
  if (options.pack_file == PackFileUse::off) {
    if (cached)
      throw Error(ErrorKind::invalid_argument, "an expert cache reads from a pack file, and pack files are off",
                  "expert_cache", "allow pack files, or leave out the cache");
    return pack_in_memory(plan, checkpoint, team);
  }
  const PackHeader header = make_pack_header(checkpoint, plan);
  const auto use = [&]() -> std::optional<Weights> {
    try {
      auto file = find_pack(checkpoint, header, log_refused);
      if (!file) return {};
      const std::string path = file->path().string();
      Weights weights = cached ? read_beside_cache(std::move(*file), plan, options.expert_cache_bytes, top_k, team)
                               : map_pack(*file, plan, team);
      log(LogLevel::info, "pack file is used", {{"file", path}});
      return weights;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::invalid_file && error.kind() != ErrorKind::io) throw;
      log_refused(error);
      return {};
    }
  };
  if (auto weights = use()) return std::move(*weights);
  if (!cached && options.pack_file != PackFileUse::write) return pack_in_memory(plan, checkpoint, team);
  try {
    write_somewhere(checkpoint, header, plan, team, {});
    if (auto weights = use()) return std::move(*weights);
  } catch (const Error& error) {
    if (cached) throw;
    log(LogLevel::warning, "pack file could not be written", {{"file", error.where()}, {"reason", error.message()}});
  }
  if (cached)
    throw Error(ErrorKind::io, "an expert cache needs a pack file, and the one that was just written does not hold",
                pack_file_places(checkpoint).front().string(), "the log says why; the disk may be failing");
  return pack_in_memory(plan, checkpoint, team);
}

}  // namespace

std::size_t WeightPacker::total_bytes(const ModelOptions& options, int top_k) const {
  if (!uses_cache(options, top_k)) return plan_.total_bytes();
  ExpertCache::check_size(plan_, options.expert_cache_bytes, top_k);
  std::size_t experts = 0;
  for (const WeightSection& section : plan_.sections())
    if (section.is_expert()) experts += section.bytes;
  return plan_.total_bytes() - experts + std::min(experts, options.expert_cache_bytes);
}

Weights WeightPacker::finish(const Checkpoint& checkpoint, const WeightTask& task, const ModelOptions& options,
                             int top_k) {
  if (task.state != nullptr) *task.state = state_of(checkpoint, make_pack_header(checkpoint, plan_));
  if (task.team == nullptr) return {};
  if (task.write == nullptr) return load(plan_, checkpoint, *task.team, options, top_k);
  const PackHeader header = make_pack_header(checkpoint, plan_);
  const bool elsewhere = !task.write->path.empty();
  if (task.state->usable && !task.write->replace && !elsewhere) return {};
  *task.state = {write_somewhere(checkpoint, header, plan_, *task.team, *task.write), header.file_bytes, true, ""};
  return {};
}

StoredMatrix stored_matrix(TensorFinder& find, const TensorView& tensor) {
  StoredMatrix matrix{tensor};
  if (tensor.dtype == DType::f8_e4m3) matrix.scales = &find.block_scales(tensor);
  return matrix;
}

std::vector<float> to_floats(const TensorView* tensor) {
  if (tensor == nullptr) return {};
  std::vector<float> values(checked_cast<std::size_t>(tensor->n_elements(), tensor->name));
  dequantize_row(tensor->dtype, tensor->data.data(), values.data(), values.size());
  return values;
}

}  // namespace moebox
