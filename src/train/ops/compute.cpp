#include "train/ops/compute.h"

#include <algorithm>
#include <new>

namespace moebox::train_ops {
namespace {

constexpr std::align_val_t page{4096};

}  // namespace

Scratch::~Scratch() { release_all(); }

void Scratch::release_all() noexcept {
  for (const Chunk& chunk : chunks_) ::operator delete(chunk.data, page);
  chunks_.clear();
  total_bytes_ = 0;
}

std::byte* Scratch::take(std::size_t bytes) {
  bytes = (bytes + 63) / 64 * 64;
  if (chunks_.empty() || chunks_.back().bytes - chunks_.back().used < bytes) {
    const std::size_t size = std::max<std::size_t>(bytes, std::size_t{1} << 20);
    chunks_.reserve(chunks_.size() + 1);
    chunks_.push_back({static_cast<std::byte*>(::operator new(size, page)), size, 0});
    total_bytes_ += size;
  }
  Chunk& chunk = chunks_.back();
  std::byte* taken = chunk.data + chunk.used;
  chunk.used += bytes;
  return taken;
}

ScratchUse::ScratchUse(Scratch& scratch)
    : scratch_(scratch),
      chunk_(scratch.chunks_.size()),
      used_(scratch.chunks_.empty() ? 0 : scratch.chunks_.back().used) {
  ++scratch.n_uses_;
}

ScratchUse::~ScratchUse() {
  std::vector<Scratch::Chunk>& chunks = scratch_.chunks_;
  if (--scratch_.n_uses_ == 0 && chunks.size() > 1) {
    // The next call finds what this one needed in one piece.
    const std::size_t needed = scratch_.total_bytes_;
    scratch_.release_all();
    try {
      scratch_.take(needed);
    } catch (const std::bad_alloc&) {
      return;  // it will take what it needs by itself
    }
    chunks.back().used = 0;
    return;
  }
  for (std::size_t i = chunk_; i < chunks.size(); ++i) chunks[i].used = 0;
  if (chunk_ > 0) chunks[chunk_ - 1].used = used_;
  // A chunk that a nested call added stays, after the one that others still use: it is used first, then.
}

Compute::Compute(Workers& workers) : workers(workers), kernels(kernel_table()) {}
Compute::Compute(Workers& workers, Isa isa) : workers(workers), kernels(kernel_table(isa)) {}

}  // namespace moebox::train_ops
