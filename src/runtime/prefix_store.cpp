#include "runtime/prefix_store.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <system_error>

namespace moebox {
namespace {

constexpr std::size_t usual_ring_bytes = std::size_t{64} << 20, largest_ring_bytes = std::size_t{256} << 20;
constexpr int n_readers = 2;
constexpr int long_step_tokens = 64;
constexpr auto longest_reading = std::chrono::seconds(10);  // while it is not known how long computing takes
constexpr int retry_after = 16;                             // a disk that was too slow once may be quicker by now

/// Blocks that wait to be written: those of two steps, and more where they are small.
std::size_t ring_size(std::size_t block_bytes, int max_batch_tokens) {
  const std::size_t two_steps = static_cast<std::size_t>(max_batch_tokens) / kv_block_tokens * 2 + 2;
  const std::size_t most = std::max<std::size_t>(2, largest_ring_bytes / block_bytes);
  return std::bit_floor(std::clamp<std::size_t>(usual_ring_bytes / block_bytes, std::min(two_steps, most), most));
}

void append_bits(std::string& out, const auto& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// A moving mean that trusts the newest quarter.
double mean(double before, double now) { return before == 0 ? now : before * 0.75 + now * 0.25; }

}  // namespace

std::string block_circumstances(const ModelInfo& model, const std::string& model_identity) {
  // Fields of fixed number, each behind a name and before a line's end; the identity comes last.
  std::string all = "kv 1\nisa " + std::string(name(kernel_table().isa)) + '\n';
  const auto add = [&](const char* what, auto value) { all += what + (' ' + std::to_string(value)) + '\n'; };
  for (const KvShape& shape : {model.kv, model.gate_kv}) {
    add("type", static_cast<int>(shape.type));
    add("heads", shape.n_kv_heads);
    add("head_dim", shape.head_dim);
    add("latent_dim", shape.latent_dim);
  }
  add("layers", model.n_layers);
  add("draft_layers", model.n_draft_layers);
  add("hidden", model.hidden_size);
  add("vocabulary", model.vocab_size);
  add("parameters", model.n_parameters);
  add("moe_layers", model.moe.n_layers);
  add("experts", model.moe.n_experts);
  add("top_k", model.moe.top_k);
  add("block_tokens", kv_block_tokens);
  add("identity", model_identity.size());
  return all + model.architecture + '\n' + model_identity + '\n';
}

PrefixStore::PrefixStore(std::shared_ptr<BlockStore> store, std::string circumstances, const ModelInfo& model,
                         const KvBlocks& kv, Limits limits, std::function<void()> on_read)
    : store_(std::move(store)),
      circumstances_(std::move(circumstances)),
      n_layers_(model.n_kv_layers()),
      n_gate_layers_(model.gate_kv.block_bytes() > 0 ? model.moe.n_layers : 0),
      content_bytes_(model.kv_block_bytes()),
      kv_(kv),
      gate_kv_(gate_blocks(model, kv)),
      draft_rows_(draft_rows(model, kv)),
      limits_(limits),
      on_read_(std::move(on_read)),
      ring_(ring_size(content_bytes_, limits.max_batch_tokens)),
      ring_content_(ring_.size() * content_bytes_, "blocks that wait to be stored", false),
      kept_(static_cast<std::size_t>(kv.n_blocks)) {
  readings_.reserve(static_cast<std::size_t>(limits_.max_sequences));
  finished_.reserve(static_cast<std::size_t>(limits_.max_sequences));
  try {
    writer_ = std::thread([this] { write_behind(); });
    for (int i = 0; i < n_readers; ++i) readers_.emplace_back([this] { read_ahead(); });
  } catch (const std::system_error& error) {
    stop();
    throw Error(ErrorKind::resource, std::string("threads for the KV store cannot be started: ") + error.what());
  }
}

PrefixStore::~PrefixStore() { stop(); }

void PrefixStore::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : readers_) thread.join();
  if (!writer_.joinable()) return;
  const std::uint32_t put = put_;
  for (std::uint32_t taken = taken_; put - taken >= ring_.size(); taken = taken_) taken_.wait(taken);
  ring_[put & (ring_.size() - 1)].is_end = true;
  put_.store(put + 1, std::memory_order_release);
  put_.notify_one();
  writer_.join();
}

void PrefixStore::prepare(Sequence& sequence) const {
  if (!sequence.share_prefix) return;
  StoredChain& chain = sequence.stored;
  std::string all = circumstances_;
  const RoutingBudget& budget = sequence.budget;
  append_bits(all, budget.top_p);
  append_bits(all, budget.threshold);
  append_bits(all, budget.min_experts);
  append_bits(all, budget.max_experts);
  all += sequence.prefix_owner;
  chain.names.reserve(static_cast<std::size_t>(BlockPool::needed(sequence.max_tokens)) + 1);
  chain.names.push_back(store_->root(std::as_bytes(std::span(all))));
  // All but the last token may be found, as in the cache itself.
  const int n_findable = (sequence.n_prompt - 1) / kv_block_tokens;
  bool stored = true;
  for (int block = 0; block < n_findable; ++block) {
    const StoredBlock wanted = stored_block(sequence, block);
    chain.names.push_back(store_->name(wanted.parent, wanted.n_prompt, wanted.tokens));
    stored = stored && store_->contains(chain.names.back());
    if (stored) chain.n_stored = block + 1;
  }
}

/// Its name is set where it is known.
StoredBlock PrefixStore::stored_block(const Sequence& sequence, int block) const noexcept {
  const auto index = static_cast<std::size_t>(block);
  const auto& names = sequence.stored.names;
  StoredBlock stored;
  stored.parent = names[index];
  if (index + 1 < names.size()) stored.name = names[index + 1];
  if (limits_.roles_matter) stored.n_prompt = sequence.prompt_tokens_in(block);
  stored.tokens = std::span(sequence.tokens).subspan(index * kv_block_tokens, kv_block_tokens);
  return stored;
}

void PrefixStore::copy_out(int block, std::byte* to) const noexcept {
  for (int layer = 0; layer < n_layers_; ++layer, to += kv_.block_bytes)
    std::memcpy(to, kv_.block(layer, block), kv_.block_bytes);
  for (int layer = 0; layer < n_gate_layers_; ++layer, to += gate_kv_.block_bytes)
    std::memcpy(to, gate_kv_.block(layer, block), gate_kv_.block_bytes);
  if (draft_rows_.block_bytes > 0) std::memcpy(to, draft_rows_.block(0, block), draft_rows_.block_bytes);
}

void PrefixStore::copy_in(std::span<const std::byte> content, int block) const noexcept {
  const std::byte* from = content.data();
  for (int layer = 0; layer < n_layers_; ++layer, from += kv_.block_bytes)
    std::memcpy(kv_.block(layer, block), from, kv_.block_bytes);
  for (int layer = 0; layer < n_gate_layers_; ++layer, from += gate_kv_.block_bytes)
    std::memcpy(gate_kv_.block(layer, block), from, gate_kv_.block_bytes);
  if (draft_rows_.block_bytes > 0) std::memcpy(draft_rows_.block(0, block), from, draft_rows_.block_bytes);
}

void PrefixStore::keep(Sequence& sequence, int block) noexcept {
  StoredChain& chain = sequence.stored;
  if (chain.names.empty()) return;
  const auto index = static_cast<std::size_t>(block);
  // Room for all names was taken by prepare(): nothing is allocated.
  while (chain.names.size() <= index + 1) {
    const StoredBlock next = stored_block(sequence, static_cast<int>(chain.names.size()) - 1);
    chain.names.push_back(store_->name(next.parent, next.n_prompt, next.tokens));
  }
  const BlockName& name = chain.names[index + 1];
  const std::uint64_t generation = store_->generation();
  const int place = sequence.blocks[index];
  Kept& kept = kept_[static_cast<std::size_t>(place)];
  if (kept.generation == generation && kept.name == name) return;
  const std::uint32_t put = put_.load(std::memory_order_relaxed);
  if (put - taken_.load(std::memory_order_acquire) >= ring_.size()) {
    dropped_bytes_ += content_bytes_;
    return;
  }
  kept = {name, generation};
  const std::size_t slot = put & (ring_.size() - 1);
  const StoredBlock stored = stored_block(sequence, block);
  Written& written = ring_[slot];
  written.name = stored.name;
  written.parent = stored.parent;
  written.n_prompt = stored.n_prompt;
  std::copy(stored.tokens.begin(), stored.tokens.end(), written.tokens.begin());
  copy_out(place, ring_content_.data() + slot * content_bytes_);
  put_.store(put + 1, std::memory_order_release);
  put_.notify_one();
}

void PrefixStore::write_behind() noexcept {
  for (std::uint32_t taken = 0;;) {
    put_.wait(taken, std::memory_order_acquire);
    const std::size_t slot = taken & (ring_.size() - 1);
    const Written& written = ring_[slot];
    if (written.is_end) return;
    const StoredBlock block{written.name, written.parent, written.n_prompt, written.tokens};
    if (!store_->contains(block.name)) {
      const bool is_written = store_->write(block, {ring_content_.data() + slot * content_bytes_, content_bytes_});
      (is_written ? written_bytes_ : dropped_bytes_) += content_bytes_;
    }
    taken_.store(++taken, std::memory_order_release);
    taken_.notify_one();
  }
}

void PrefixStore::step_took(int n_tokens, Clock::duration time) noexcept {
  if (n_tokens < long_step_tokens) return;
  const double ns = std::chrono::duration<double, std::nano>(time).count();
  compute_ns_per_token_ = mean(compute_ns_per_token_, ns / n_tokens);
}

bool PrefixStore::worth_reading(int n_blocks) noexcept {
  const double computing = compute_ns_per_token_ * kv_block_tokens, reading = read_ns_per_block_;
  if (computing == 0 || reading <= computing || ++n_not_worth_ % retry_after == 0) return true;
  late_blocks_ += static_cast<std::uint64_t>(n_blocks);
  return false;
}

bool PrefixStore::begin_reading(Sequence& sequence, int first_block) noexcept {
  StoredChain& chain = sequence.stored;
  if (chain.tried || chain.n_stored <= first_block) return false;
  chain.tried = true;
  const int n_blocks = chain.n_stored - first_block;
  if (!worth_reading(n_blocks)) return false;
  Reading reading;
  reading.sequence = &sequence;
  reading.first = reading.next = first_block;
  reading.end = reading.right = chain.n_stored;
  const double computing_ns = compute_ns_per_token_ * kv_block_tokens * n_blocks;
  const auto limit = std::chrono::nanoseconds(static_cast<std::int64_t>(computing_ns)) + std::chrono::milliseconds(20);
  reading.deadline = Clock::now() + (computing_ns == 0 ? Clock::duration(longest_reading) : Clock::duration(limit));
  {
    const std::lock_guard lock(mutex_);
    if (readings_.size() + finished_.size() >= readings_.capacity()) return false;
    readings_.push_back(reading);
  }
  work_.notify_all();
  return true;
}

void PrefixStore::read_ahead() noexcept {
  std::vector<std::byte> buffer;
  std::unique_lock lock(mutex_);
  while (true) {
    auto at = readings_.begin();
    work_.wait(lock, [&] {
      at = std::find_if(readings_.begin(), readings_.end(), [](const Reading& r) { return r.next < r.right; });
      return stopping_ || at != readings_.end();
    });
    if (stopping_) return;
    Sequence& sequence = *at->sequence;
    const int block = at->next++;
    const auto deadline = at->deadline;
    ++at->n_at_work;
    const bool late = giving_up_ || Clock::now() > deadline;
    lock.unlock();

    const auto begin = Clock::now();
    bool right = false;
    if (late) {
      ++late_blocks_;
    } else {
      const auto content = store_->read(stored_block(sequence, block), content_bytes_, buffer);
      right = content.size() == content_bytes_;
      if (right) {
        copy_in(content, sequence.blocks[static_cast<std::size_t>(block)]);
        read_bytes_ += content_bytes_;
        const double ns = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
        read_ns_per_block_ = mean(read_ns_per_block_, ns / n_readers);
      } else {
        ++refused_blocks_;
      }
    }

    lock.lock();
    // Others may have come and gone meanwhile; this one stays while somebody is at work on it.
    at = std::find_if(readings_.begin(), readings_.end(), [&](const Reading& r) { return r.sequence == &sequence; });
    if (!right) at->right = std::min(at->right, block);
    if (--at->n_at_work > 0 || at->next < at->right) continue;
    finished_.push_back(*at);
    readings_.erase(at);
    lock.unlock();
    on_read_();
    lock.lock();
    over_.notify_all();
  }
}

Sequence* PrefixStore::finished_reading(int& n_blocks) noexcept {
  const std::lock_guard lock(mutex_);
  if (finished_.empty()) return nullptr;
  const Reading reading = finished_.front();
  finished_.erase(finished_.begin());
  n_blocks = reading.right;
  found_tokens_ += static_cast<std::uint64_t>(reading.right - reading.first) * kv_block_tokens;
  for (int block = reading.first; block < reading.right; ++block) {
    const auto index = static_cast<std::size_t>(block);
    kept_[static_cast<std::size_t>(reading.sequence->blocks[index])] = {reading.sequence->stored.names[index + 1],
                                                                        store_->generation()};
  }
  return reading.sequence;
}

void PrefixStore::give_up_reading() noexcept {
  std::unique_lock lock(mutex_);
  giving_up_ = true;
  over_.wait(lock, [&] { return readings_.empty(); });
}

PrefixStoreStats PrefixStore::stats() const noexcept {
  return {found_tokens_, written_bytes_, read_bytes_, dropped_bytes_, refused_blocks_, late_blocks_};
}

}  // namespace moebox
