// What an engine keeps of its prompts' blocks in a BlockStore, and finds there again. The engine's thread hands blocks
// over through a bounded ring and takes them in when they have been read: it never waits, allocates nothing, and
// touches no file.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/anonymous_memory.h"
#include "runtime/block_store.h"
#include "runtime/sequence.h"

namespace moebox {

struct PrefixStoreStats {
  std::uint64_t found_tokens = 0;  // of prompts: read from the store, and not computed
  std::uint64_t written_bytes = 0, read_bytes = 0;
  std::uint64_t dropped_bytes = 0;   // of blocks that were not stored: the ring was full, or the disk
  std::uint64_t refused_blocks = 0;  // that were not there any more, or did not hold
  std::uint64_t late_blocks = 0;     // not read: computing them is quicker
};

/// All of F's arguments that are the same for all requests to one model, but for what the store itself knows.
std::string block_circumstances(const ModelInfo& model, const std::string& model_identity);

class PrefixStore {
 public:
  struct Limits {
    int max_batch_tokens, max_sequences;
    bool roles_matter;
  };
  /// `circumstances`: block_circumstances(). `kv` outlives the object.
  /// `on_read` is called on a thread of its own when a sequence's blocks have been read.
  PrefixStore(std::shared_ptr<BlockStore> store, std::string circumstances, const ModelInfo& model, const KvBlocks& kv,
              Limits limits, std::function<void()> on_read);
  /// Writes what is in the ring.
  ~PrefixStore();

  /// Before the engine's thread knows of the sequence: names its prompt's blocks and looks which are stored.
  void prepare(Sequence& sequence) const;

  // The engine's thread.

  /// Full block number `block` of the sequence will never change again: it is stored, if there is room in the ring.
  void keep(Sequence& sequence, int block) noexcept;
  /// Begins to read the blocks from `first_block` on, as far as they are stored, into the sequence's own blocks. The
  /// sequence belongs to the store until finished_reading() gives it back. False: nothing is to be read.
  bool begin_reading(Sequence& sequence, int first_block) noexcept;
  /// A sequence whose reading is over, and how many of its blocks are there and right, counted from its first one;
  /// nullptr when there is none.
  Sequence* finished_reading(int& n_blocks) noexcept;
  /// Gives up what is being read; all of it is over when it returns.
  void give_up_reading() noexcept;
  /// How long a step with so many tokens took: reading must be quicker.
  void step_took(int n_tokens, Clock::duration time) noexcept;

  PrefixStoreStats stats() const noexcept;

 private:
  struct Written {  // a place of the ring
    BlockName name, parent;
    int n_prompt = 0;
    std::array<TokenId, kv_block_tokens> tokens{};
    bool is_end = false;  // nothing more comes
  };
  struct Reading {
    Sequence* sequence = nullptr;
    int first = 0, end = 0;  // blocks
    int next = 0;            // the next one to be read
    int right = 0;           // of those before it, none has failed; lowered by one that does
    int n_at_work = 0;       // threads
    Clock::time_point deadline{};
  };
  void stop() noexcept;
  void copy_out(int block, std::byte* to) const noexcept;
  void copy_in(std::span<const std::byte> content, int block) const noexcept;
  StoredBlock stored_block(const Sequence& sequence, int block) const noexcept;
  void write_behind() noexcept;
  void read_ahead() noexcept;
  bool worth_reading(int n_blocks) noexcept;

  const std::shared_ptr<BlockStore> store_;
  const std::string circumstances_;
  const int n_layers_, n_gate_layers_;
  const std::size_t content_bytes_;
  const KvBlocks kv_, gate_kv_, draft_rows_;
  const Limits limits_;
  const std::function<void()> on_read_;

  // Writing behind: one thread puts in, one takes out.
  std::vector<Written> ring_;
  AnonymousMemory ring_content_;  // (ring_.size(), content_bytes_)
  std::atomic<std::uint32_t> put_{0}, taken_{0};
  struct Kept {
    BlockName name;
    std::uint64_t generation = 0;  // the store's, when it was handed over
  };
  std::vector<Kept> kept_;  // (kv.n_blocks): the last content that was handed over of a block

  // Reading ahead. The lock is held to look at lists only.
  std::mutex mutex_;
  std::condition_variable work_, over_;
  std::vector<Reading> readings_;  // in order of arrival; room for all sequences
  std::vector<Reading> finished_;
  bool giving_up_ = false, stopping_ = false;

  double compute_ns_per_token_ = 0;  // of long steps; the engine's thread's
  std::atomic<double> read_ns_per_block_{0};
  int n_not_worth_ = 0;
  std::atomic<std::uint64_t> found_tokens_{0}, written_bytes_{0}, read_bytes_{0}, dropped_bytes_{0}, refused_blocks_{0},
      late_blocks_{0};

  std::thread writer_;
  std::vector<std::thread> readers_;
};

}  // namespace moebox
