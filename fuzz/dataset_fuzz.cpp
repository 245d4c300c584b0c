// Any bytes as a shard, a manifest, a loader's state or a recipe's source: an Error, or data that lie inside.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/build/document.h"
#include "data/build/pii.h"
#include "data/build/quality.h"
#include "data/dataset.h"
#include "data/digest.h"
#include "data/loader.h"

namespace moebox::data {
namespace {

void check(bool is_right) {
  if (!is_right) std::abort();
}

/// Makes the checksum of the data right: mutations do not find it.
void mend(std::string& shard) {
  std::uint64_t header_bytes = 0;
  if (shard.size() < sizeof header_bytes) return;
  std::memcpy(&header_bytes, shard.data(), sizeof header_bytes);
  if (header_bytes > shard.size() - sizeof header_bytes) return;
  const std::size_t data = sizeof header_bytes + static_cast<std::size_t>(header_bytes);
  constexpr std::string_view key = "\"checksum\":\"";
  const auto found = std::string_view(shard).substr(0, data).find(key);
  if (found == std::string_view::npos || found + key.size() + 64 > data) return;
  const std::string digest = hex(digest_of(std::as_bytes(std::span(shard)).subspan(data)));
  shard.replace(found + key.size(), digest.size(), digest);
}

void use(const Shard& shard) {
  std::int64_t n_tokens = 0;
  std::vector<TokenId> ids;
  std::vector<std::uint8_t> mask;
  for (std::int64_t i = 0; i < shard.n_documents(); ++i) {
    const Shard::Range range = shard.document(i);
    check(range.begin == n_tokens && range.size() > 0);
    n_tokens = range.end;
    ids.resize(static_cast<std::size_t>(range.size()));
    mask.resize(ids.size());
    shard.copy_tokens(range.begin, ids);
    shard.copy_mask(range.begin, mask);
    check(std::ranges::all_of(ids, [&](TokenId id) { return id >= 0 && id < shard.label().vocabulary_size; }));
    check(std::ranges::all_of(mask, [](std::uint8_t value) { return value <= 1; }));
  }
  check(n_tokens == shard.n_tokens());
}

void fuzz_shard(std::string bytes) {
  mend(bytes);
  std::vector<Shard> shards;
  shards.emplace_back(std::as_bytes(std::span(bytes)), "fuzz.safetensors");
  use(shards[0]);
  LoaderOptions options;
  options.rows = 2;
  options.row_tokens = 8;
  options.window_rows = 4;
  Loader loader(std::make_shared<const Dataset>(Dataset::of(std::move(shards))), options);
  for (int i = 0; i < 4; ++i) {
    const std::string state = loader.save();
    const Batch batch = loader.next();
    check(batch.tokens.size() == 16 && batch.n_learnt > 0);
    loader.restore(state);
    check(loader.next().tokens == batch.tokens);
  }
}

/// A data set in memory, for states.
Loader small_loader() {
  static const std::string file = [] {
    ShardWriter writer({.tokenizer = hex(Digest{}), .vocabulary_size = 10, .domain = "a", .level = Level::general});
    const std::vector<TokenId> ids = {1, 2, 3, 4, 5};
    for (int i = 0; i < 9; ++i) writer.add(ids);
    return writer.bytes();
  }();
  std::vector<Shard> shards;
  shards.emplace_back(std::as_bytes(std::span(file)), "small");
  LoaderOptions options;
  options.rows = 2;
  options.row_tokens = 4;
  return Loader(std::make_shared<const Dataset>(Dataset::of(std::move(shards))), options);
}

void fuzz_state(const std::string& text) {
  Loader loader = small_loader();
  loader.restore(text);
  const std::string state = loader.save();
  check(!loader.next().empty());
  loader.restore(state);
  check(loader.save() == state);
}

void fuzz_document(const std::string& text, bool messages) {
  SourceOptions source;
  source.format = SourceFormat::jsonl;
  if (messages) source.messages = "messages";
  Record record;
  record.bytes = text;
  const Document document = read_document(record, source, InvalidUtf8::replace);
  if (document.dropped != nullptr) return;
  const std::string masked = mask_pii(document.text);
  check(!document.text.empty() || document.is_conversation);
  prose_problem(masked);
  code_problem(masked);
}

}  // namespace
}  // namespace moebox::data

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace moebox::data;
  if (size == 0 || size > (std::size_t{1} << 18)) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0] % 5) {
      case 0:
        fuzz_shard(text);
        break;
      case 1:
        check(Manifest::parse(Manifest::parse(text, "fuzz").text(), "again").shards.size() < size);
        break;
      case 2:
        fuzz_state(text);
        break;
      default:
        fuzz_document(text, data[0] % 5 == 4);
    }
  } catch (const moebox::Error& error) {
    check(error.kind() != moebox::ErrorKind::internal);
  }
  return 0;
}
