#include "kv_store/kv_store.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <unordered_map>

#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "kv_store/numerics.h"
#include "kv_store/segment.h"
#include "kv_store/store_folder.h"

namespace moebox {
namespace {

constexpr std::size_t most_blocks = std::size_t{1} << 20;  // that the index knows: about 100 MiB
constexpr std::size_t longest_key_file = 64u << 10;
constexpr const char* make_a_key = "a good one: (umask 077; openssl rand -hex 24 > FILE)";

struct NameHash {
  std::size_t operator()(const BlockName& name) const noexcept {
    std::size_t hash;  // a digest is as good as any hash of it
    std::memcpy(&hash, name.bytes.data(), sizeof hash);
    return hash;
  }
};

/// Small enough that little is lost when one goes, large enough that there are few.
std::uint64_t segment_bytes(std::uint64_t capacity) {
  return std::clamp<std::uint64_t>(capacity / 16, std::uint64_t{1} << 20, std::uint64_t{1} << 30);
}

}  // namespace

std::string read_store_key(const std::filesystem::path& path) {
  std::error_code none;
  if (!std::filesystem::is_regular_file(path, none))
    throw Error(ErrorKind::io, "expected a file with the key of the KV store, found none", path.string(), make_a_key);
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0 && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    log(LogLevel::warning, "kv_store_key_permissions", {{"file", path.string()}, {"advice", "chmod 600"}});
  std::ifstream file(path, std::ios::binary);
  std::string text(longest_key_file + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (!file && !file.eof()))
    throw Error(ErrorKind::io, std::string("the KV store's key cannot be read: ") + std::strerror(errno), path.string(),
                "give a file that this user may read");
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > longest_key_file)
    throw Error(ErrorKind::invalid_file, "expected the key of the KV store, found a file larger than 64 KiB",
                path.string(), make_a_key);
  constexpr const char* blank = " \t\r\n";
  const auto first = text.find_first_not_of(blank);
  if (first == std::string::npos)
    throw Error(ErrorKind::invalid_file, "expected the key of the KV store, found nothing but blanks", path.string(),
                make_a_key);
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

struct KvStore::State {
  struct Place {
    std::shared_ptr<Segment> segment;
    std::uint64_t offset = 0, bytes = 0;
  };
  struct File {
    std::shared_ptr<Segment> segment;  // nullptr: of other keys, or no segment at all; kept until room is needed
    std::uint64_t bytes = 0;
    std::int64_t last_used_ns = 0;
    std::vector<BlockName> names;
  };

  explicit State(const KvStoreOptions& options)
      : folder(options.folder), secrets(folder.salt(), options.key), capacity(options.capacity_bytes) {}

  void look_through();
  void take_in(std::uint64_t number);
  bool make_room(std::uint64_t bytes) noexcept;
  bool open_segment(std::uint64_t record_bytes);
  bool append(const StoredBlock& block, std::span<const std::byte> content);
  void complain(const char* event, const char* what) noexcept;
  std::uint64_t total_bytes() const noexcept;

  StoreFolder folder;
  StoreSecrets secrets;
  const std::array<std::byte, 32> numerics = numerics_digest();
  const std::uint64_t capacity;

  std::mutex writing;             // one appends at a time
  std::vector<std::byte> record;  // the one that is being written
  std::shared_ptr<Segment> active;
  std::chrono::steady_clock::time_point last_complaint{};

  mutable std::mutex mutex;  // of all below; held briefly
  std::unordered_map<BlockName, Place, NameHash> index;
  std::map<std::uint64_t, File> files;  // by number
  std::uint64_t removed_bytes = 0;
  std::atomic<std::uint64_t> generation{1};
};

void KvStore::State::look_through() {
  int n_foreign = 0;
  std::vector<std::uint64_t> numbers;
  for (const std::string& name : folder.names()) {
    if (const auto number = segment_number(name))
      numbers.push_back(*number);
    else
      ++n_foreign;
  }
  // In the order in which they were written: a block that was damaged has been written again.
  std::sort(numbers.begin(), numbers.end());
  for (const std::uint64_t number : numbers) take_in(number);
  if (n_foreign > 0)
    log(LogLevel::warning, "kv_store_foreign_files",
        {{"folder", folder.path().string()}, {"files", n_foreign}, {"effect", "left alone"}});
  make_room(0);
  if (!files.empty()) active = files.rbegin()->second.segment;
}

/// Whatever a file holds, it does not keep the store from starting.
void KvStore::State::take_in(std::uint64_t number) {
  std::string why;
  const auto segment = Segment::open(folder.descriptor(), number, why);
  if (segment == nullptr) {
    log(LogLevel::warning, "kv_store_file_left_alone",
        {{"file", (folder.path() / segment_name(number)).string()}, {"why", why}});
    files[number] = {};  // its number is taken
    return;
  }
  SegmentContent content;
  try {
    content = scan_segment(segment->descriptor(), segment->bytes(), secrets,
                           most_blocks - std::min(most_blocks, index.size()));
    if (content.end != 0 && content.end < segment->bytes()) segment->cut(content.end);
  } catch (const Error& error) {
    log(LogLevel::warning, "kv_store_file_unreadable",
        {{"file", (folder.path() / segment_name(number)).string()}, {"why", error.what()}});
    content = {};
  }
  File& file = files[number];
  file.bytes = segment->bytes();
  if (content.end == 0) {
    log(LogLevel::warning, "kv_store_file_of_other_key",
        {{"file", (folder.path() / segment_name(number)).string()},
         {"why", "it begins with no header of this key and this format"},
         {"effect", "not used, and removed when room is needed"}});
    return;
  }
  file.segment = segment;
  file.last_used_ns = segment->last_used_ns();
  for (const RecordPlace& place : content.records) {
    index[place.name] = {segment, place.offset, place.bytes};
    file.names.push_back(place.name);
  }
}

std::uint64_t KvStore::State::total_bytes() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& [number, file] : files) sum += file.segment ? file.segment->bytes() : file.bytes;
  return sum;
}

/// Removes the files that were used longest ago until so many bytes more fit. The mutex is held, or nobody else knows
/// of the store yet.
bool KvStore::State::make_room(std::uint64_t bytes) noexcept {
  while (total_bytes() + bytes > capacity) {
    auto oldest = files.end();
    const auto age = [](const File& file) { return file.segment ? file.segment->last_used_ns() : file.last_used_ns; };
    for (auto it = files.begin(); it != files.end(); ++it) {
      const bool is_there = it->second.segment != nullptr || it->second.bytes > 0;
      if (!is_there || (it->second.segment != nullptr && it->second.segment == active)) continue;
      if (oldest == files.end() || age(it->second) < age(oldest->second)) oldest = it;
    }
    if (oldest == files.end()) return false;
    File& file = oldest->second;
    const bool gone = ::unlinkat(folder.descriptor(), segment_name(oldest->first).c_str(), 0) == 0 || errno == ENOENT;
    for (const BlockName& name : file.names) {
      const auto found = index.find(name);
      if (found != index.end() && found->second.segment == file.segment) index.erase(found);
    }
    ++generation;
    if (!gone) {  // it cannot be removed: of no use, and it takes its place for ever
      file.segment = nullptr;
      file.names.clear();
      return false;
    }
    removed_bytes += file.segment ? file.segment->bytes() : file.bytes;
    files.erase(oldest);
  }
  return true;
}

/// Sees to it that `active` has room for a record.
bool KvStore::State::open_segment(std::uint64_t record_bytes) {
  const std::lock_guard lock(mutex);
  if (record_bytes + sizeof(SegmentHeader) > capacity / 2) return false;
  if (active != nullptr && active->bytes() + record_bytes > segment_bytes(capacity) &&
      active->bytes() > sizeof(SegmentHeader))
    active = nullptr;
  if (!make_room(record_bytes + sizeof(SegmentHeader))) return false;
  if (active != nullptr) return true;
  const std::uint64_t number = files.empty() ? 1 : files.rbegin()->first + 1;
  active = Segment::create(folder.descriptor(), number, secrets);
  files[number].segment = active;
  return true;
}

/// At most once a minute.
void KvStore::State::complain(const char* event, const char* what) noexcept {
  const auto now = std::chrono::steady_clock::now();
  if (last_complaint != std::chrono::steady_clock::time_point{} && now - last_complaint < std::chrono::minutes(1))
    return;
  last_complaint = now;
  try {
    log(LogLevel::warning, event, {{"folder", folder.path().string()}, {"why", what}});
  } catch (...) {  // no memory for a line of the log
  }
}

bool KvStore::State::append(const StoredBlock& block, std::span<const std::byte> content) {
  const std::lock_guard one_at_a_time(writing);
  {
    const std::lock_guard lock(mutex);
    if (index.contains(block.name)) return true;
    if (index.size() >= most_blocks) return false;
  }
  write_record(secrets, block, content, record);
  if (!open_segment(record.size())) {
    complain("kv_store_not_written", "a block does not fit in");
    return false;
  }
  const auto offset = active->append(record);
  if (!offset) {
    complain("kv_store_not_written", std::strerror(errno));
    return false;
  }
  active->used_now();
  const std::lock_guard lock(mutex);
  File& file = files.at(active->number());
  file.names.push_back(block.name);
  index[block.name] = {active, *offset, record.size()};
  return true;
}

KvStore::KvStore(const KvStoreOptions& options) {
  if (options.capacity_bytes < KvStoreOptions::least_capacity_bytes)
    throw Error(ErrorKind::invalid_argument,
                "expected at least " + std::to_string(KvStoreOptions::least_capacity_bytes >> 20) + " MiB, found " +
                    std::to_string(options.capacity_bytes) + " bytes",
                "kv_store_size", "give it more, or leave out the KV store");
  state_ = std::make_unique<State>(options);
  state_->look_through();
  const BlockStoreStats now = stats();
  log(LogLevel::info, "kv_store_opened",
      {{"folder", options.folder.string()},
       {"blocks", now.blocks},
       {"bytes", now.bytes},
       {"encrypted", state_->secrets.seals()}});
}

KvStore::~KvStore() = default;

BlockName KvStore::root(std::span<const std::byte> circumstances) const {
  return state_->secrets.digest({std::as_bytes(std::span("root", 4)), state_->numerics, circumstances});
}

BlockName KvStore::name(const BlockName& parent, int n_prompt, std::span<const TokenId> tokens) const noexcept {
  const std::int32_t roles = n_prompt;
  return state_->secrets.digest({parent.bytes, std::as_bytes(std::span(&roles, 1)), std::as_bytes(tokens)});
}

bool KvStore::contains(const BlockName& name) const noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->index.contains(name);
}

std::uint64_t KvStore::generation() const noexcept { return state_->generation; }

bool KvStore::write(const StoredBlock& block, std::span<const std::byte> content) noexcept {
  try {
    return state_->append(block, content);
  } catch (const std::exception& error) {
    const std::lock_guard lock(state_->writing);
    state_->complain("kv_store_not_written", error.what());
    return false;
  }
}

std::span<const std::byte> KvStore::read(const StoredBlock& wanted, std::size_t content_bytes,
                                         std::vector<std::byte>& buffer) noexcept {
  try {
    State::Place place;
    {
      const std::lock_guard lock(state_->mutex);
      const auto found = state_->index.find(wanted.name);
      if (found == state_->index.end()) return {};
      place = found->second;
    }
    const std::size_t bytes = sizeof(RecordHeader) + record_body_bytes(content_bytes, state_->secrets.seals());
    if (place.bytes == bytes) {
      if (buffer.size() < bytes) buffer.resize(bytes);
      const auto record = std::span(buffer).first(bytes);
      place.segment->used_now();
      if (place.segment->read(place.offset, record))
        if (const auto content = open_record(state_->secrets, record, wanted, content_bytes)) return *content;
    }
    {
      const std::lock_guard lock(state_->mutex);
      const auto found = state_->index.find(wanted.name);
      if (found != state_->index.end() && found->second.segment == place.segment &&
          found->second.offset == place.offset)
        state_->index.erase(found);
      ++state_->generation;
    }
    const std::lock_guard lock(state_->writing);
    state_->complain("kv_store_block_damaged", "it is computed again");
  } catch (const std::exception&) {  // no memory
  }
  return {};
}

BlockStoreStats KvStore::stats() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return {state_->capacity, state_->total_bytes(), state_->index.size(), state_->removed_bytes};
}

}  // namespace moebox
