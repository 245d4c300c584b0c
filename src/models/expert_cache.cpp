#include "models/expert_cache.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>

#include "base/error.h"

namespace moebox {
namespace {

std::size_t at_index(int i) noexcept { return static_cast<std::size_t>(i); }

std::size_t room(const WeightSection& section) noexcept {
  return (section.bytes + section_alignment - 1) / section_alignment * section_alignment;
}

/// The experts of one layer in a plan.
struct PlannedLayer {
  std::size_t slot_bytes = 0;  // of its largest
  std::vector<const WeightSection*> experts;
};

std::vector<PlannedLayer> planned_layers(const WeightPlan& plan) {
  std::vector<PlannedLayer> layers;
  int last = -1;
  for (const WeightSection& section : plan.sections()) {
    if (!section.is_expert()) continue;
    if (section.layer != last) layers.emplace_back();
    last = section.layer;
    layers.back().experts.push_back(&section);
    layers.back().slot_bytes = std::max(layers.back().slot_bytes, room(section));
  }
  return layers;
}

std::size_t smallest_slots(const PlannedLayer& layer, int top_k) {
  return std::min(at_index(top_k), layer.experts.size());
}

/// How many slots each layer gets: the same share of its experts, and what is left over to the first ones.
std::vector<std::size_t> slots_of(const std::vector<PlannedLayer>& layers, std::size_t capacity_bytes, int top_k) {
  double all = 0;
  for (const PlannedLayer& layer : layers)
    all += static_cast<double>(layer.slot_bytes) * static_cast<double>(layer.experts.size());
  const double share = std::min(1.0, static_cast<double>(capacity_bytes) / std::max(1.0, all));
  std::vector<std::size_t> slots;
  std::size_t used = 0;
  for (const PlannedLayer& layer : layers) {
    slots.push_back(smallest_slots(layer, top_k));
    used += slots.back() * layer.slot_bytes;
  }
  const auto raise = [&](std::size_t i, std::size_t n) {
    while (slots[i] < n && used + layers[i].slot_bytes <= capacity_bytes) {
      ++slots[i];
      used += layers[i].slot_bytes;
    }
  };
  for (std::size_t i = 0; i < layers.size(); ++i)
    raise(i, static_cast<std::size_t>(share * static_cast<double>(layers[i].experts.size())));
  for (std::size_t i = 0; i < layers.size(); ++i) raise(i, std::min(slots[i] + 1, layers[i].experts.size()));
  return slots;
}

}  // namespace

std::size_t ExpertCache::smallest_bytes(const WeightPlan& plan, int top_k) {
  std::size_t bytes = 0;
  for (const PlannedLayer& layer : planned_layers(plan)) bytes += smallest_slots(layer, top_k) * layer.slot_bytes;
  return bytes;
}

void ExpertCache::check_size(const WeightPlan& plan, std::size_t capacity_bytes, int top_k) {
  const std::size_t smallest = smallest_bytes(plan, top_k);
  if (capacity_bytes >= smallest) return;
  throw Error(ErrorKind::resource,
              "a token takes " + std::to_string(top_k) + " experts in every layer: expected at least " +
                  std::to_string(smallest) + " bytes, found " + std::to_string(capacity_bytes),
              "expert_cache",
              "give at least " + std::to_string((smallest >> 20) + 1) + "MiB, better half of the model");
}

ExpertCache::ExpertCache(PackFile file, const WeightPlan& plan, std::size_t capacity_bytes, int top_k) {
  check_size(plan, capacity_bytes, top_k);
  const std::vector<PlannedLayer> planned = planned_layers(plan);
  const std::vector<std::size_t> n_slots = slots_of(planned, capacity_bytes, top_k);
  std::size_t bytes = section_alignment * 2, most_experts = 0;  // room to prefetch past the last
  for (std::size_t i = 0; i < planned.size(); ++i) bytes += n_slots[i] * planned[i].slot_bytes;
  memory_ = AnonymousMemory(bytes, "experts", true);
  std::byte* at = memory_.data();
  for (std::size_t i = 0; i < planned.size(); ++i) {
    Layer& layer = layers_.emplace_back();
    for (const WeightSection* section : planned[i].experts) {
      Expert& expert = layer.experts.emplace_back();
      expert.section = *section;
      PackedMatrix* matrices[] = {&expert.mlp.gate, &expert.mlp.up, &expert.mlp.down};
      const auto stored = plan.matrices(*section);
      for (std::size_t m = 0; m < 3; ++m) {
        *matrices[m] = *stored[m].target;
        expert.offsets[m] = stored[m].offset - section->offset;
      }
    }
    layer.slots = std::vector<Slot>(n_slots[i]);
    for (Slot& slot : layer.slots) {
      slot.job.to = at;
      at += planned[i].slot_bytes;
    }
    resident_slots_ += n_slots[i];
    most_experts = std::max(most_experts, layer.experts.size());
  }
  queue_.reserve(most_experts);
  reader_ = std::make_unique<ExpertReader>(std::move(file), most_experts);
}

const GatedMlp& ExpertCache::expert(int id) const noexcept { return layer_->experts[at_index(id)].mlp; }

void ExpertCache::begin(int layer, std::span<const int> wanted) noexcept {
  while (busy_.test_and_set(std::memory_order_acquire)) busy_.wait(true, std::memory_order_relaxed);
  layer_ = &layers_[at_index(layer)];
  failure_ = {};
  wave_begin_ = wave_end_ = 0;
  ++clock_;
  queue_.clear();
  for (const int id : wanted) {
    Expert& expert = layer_->experts[at_index(id)];
    expert.needed = true;
    if (expert.slot < 0) continue;
    layer_->slots[at_index(expert.slot)].last_use = clock_;
    queue_.push_back(id);
  }
  n_issued_ = queue_.size();
  for (const int id : wanted)
    if (layer_->experts[at_index(id)].slot < 0) queue_.push_back(id);
  hits_.fetch_add(n_issued_, std::memory_order_relaxed);
  misses_.fetch_add(queue_.size() - n_issued_, std::memory_order_relaxed);
  read_ahead();
}

/// Begins to read what is wanted next, as far as slots are free.
void ExpertCache::read_ahead() noexcept {
  for (; n_issued_ < queue_.size(); ++n_issued_) {
    Slot* slot = free_slot();
    if (slot == nullptr) return;
    if (slot->expert >= 0) layer_->experts[at_index(slot->expert)].slot = -1;
    Expert& expert = layer_->experts[at_index(queue_[n_issued_])];
    slot->expert = queue_[n_issued_];
    slot->last_use = clock_;
    expert.slot = static_cast<int>(slot - layer_->slots.data());
    PackedMatrix* matrices[] = {&expert.mlp.gate, &expert.mlp.up, &expert.mlp.down};
    for (std::size_t m = 0; m < 3; ++m) matrices[m]->data = slot->job.to + expert.offsets[m];
    slot->job.section = &expert.section;
    read_bytes_.fetch_add(expert.section.bytes, std::memory_order_relaxed);
    reader_->submit(slot->job);
  }
}

/// An empty slot, or else the one that was used longest ago among those that the step does not need any more.
ExpertCache::Slot* ExpertCache::free_slot() noexcept {
  Slot* best = nullptr;
  for (Slot& slot : layer_->slots) {
    if (slot.expert < 0) return &slot;
    if (layer_->experts[at_index(slot.expert)].needed) continue;
    if (best == nullptr || slot.last_use < best->last_use) best = &slot;
  }
  return best;
}

std::span<const int> ExpertCache::next(bool wait) noexcept {
  release_wave();
  read_ahead();
  last_wait_seconds_ = 0;
  // While some have no slot yet, a wave is short: so that its slots are read into again during the next one.
  const std::size_t most =
      n_issued_ < queue_.size() ? std::max<std::size_t>(1, layer_->slots.size() / 4) : queue_.size();
  while (wave_end_ < n_issued_ && wave_end_ - wave_begin_ < most) {
    const Slot& slot = layer_->slots[at_index(layer_->experts[at_index(queue_[wave_end_])].slot)];
    if (!slot.job.is_over()) {
      if (wave_end_ > wave_begin_ || !wait) break;
      const auto begin = std::chrono::steady_clock::now();
      slot.job.wait();
      const std::chrono::nanoseconds waited = std::chrono::steady_clock::now() - begin;
      last_wait_seconds_ += std::chrono::duration<double>(waited).count();
      waited_ns_.fetch_add(static_cast<std::uint64_t>(waited.count()), std::memory_order_relaxed);
    }
    if (slot.job.state.load(std::memory_order_relaxed) == ExpertReader::Job::failed && failure_.section == nullptr)
      failure_ = {slot.job.section, slot.job.error};
    ++wave_end_;
  }
  return std::span(queue_).subspan(wave_begin_, wave_end_ - wave_begin_);
}

/// What was computed may be replaced; what could not be read is forgotten, and read again when it is wanted again.
void ExpertCache::release_wave() noexcept {
  for (; wave_begin_ < wave_end_; ++wave_begin_) {
    Expert& expert = layer_->experts[at_index(queue_[wave_begin_])];
    expert.needed = false;
    Slot& slot = layer_->slots[at_index(expert.slot)];
    if (slot.job.state.load(std::memory_order_relaxed) != ExpertReader::Job::failed) continue;
    slot.expert = -1;
    expert.slot = -1;
  }
}

void ExpertCache::end() noexcept {
  layer_ = nullptr;
  busy_.clear(std::memory_order_release);
  busy_.notify_one();
}

void ExpertCache::raise(const Failure& failure) const {
  const WeightSection& section = *failure.section;
  const std::string what =
      section.is_expert() ? "expert " + std::to_string(section.expert) + " of layer " + std::to_string(section.layer)
                          : "a part of the weights";
  throw Error(ErrorKind::io,
              failure.error != 0 ? what + " cannot be read: " + std::strerror(failure.error)
                                 : what + " is damaged: its bytes are not those that were written",
              reader_->file().path().string(), "'moebox pack --force' makes the file anew; the disk may be failing");
}

ExpertCacheStats ExpertCache::stats() const noexcept {
  ExpertCacheStats stats;
  stats.capacity_bytes = memory_.size();
  stats.slots = resident_slots_;
  stats.hits = hits_.load(std::memory_order_relaxed);
  stats.misses = misses_.load(std::memory_order_relaxed);
  stats.read_bytes = read_bytes_.load(std::memory_order_relaxed);
  stats.waited_ms = static_cast<double>(waited_ns_.load(std::memory_order_relaxed)) / 1e6;
  return stats;
}

}  // namespace moebox
