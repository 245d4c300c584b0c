#include "data/build/build.h"

#include <algorithm>
#include <deque>
#include <set>

#include <fmt/core.h>

#include "base/error.h"
#include "base/thread_team.h"
#include "data/build/conversation.h"
#include "data/build/duplicates.h"
#include "data/build/encode.h"
#include "data/build/filter.h"
#include "data/build/near_duplicates.h"
#include "data/build/ordered_work.h"
#include "data/build/report.h"
#include "data/build/shard_set.h"
#include "data/build/target_folder.h"
#include "data/tokenizer_digest.h"
#include "io/output_file.h"

namespace moebox::data {
namespace {

namespace fs = std::filesystem;

// Records that a thread takes at a time: enough for its work to outweigh the taking.
constexpr std::size_t batch_bytes = std::size_t{1} << 18, batch_records = 1024;

/// One document, ready to be written.
struct Encoded {
  std::vector<TokenId> ids;
  std::vector<std::uint8_t> mask;  // empty: all of it is learnt
};

/// What became of one record.
struct Outcome {
  const char* dropped = nullptr;
  std::int64_t bytes = 0;
  TextKey key;
  std::string language;
  std::optional<MinHash::Signature> signature;  // where near duplicates are looked for
  std::vector<Encoded> documents;
};

struct WorkItem {
  std::size_t source = 0;
  std::vector<Record> records;
  std::vector<Outcome> outcomes;
  Counts counts;  // what needs no order
  std::uint64_t bytes_read = 0;
};

/// Hands out records, source after source.
class Taker {
 public:
  explicit Taker(const BuildOptions& options) : options_(options) {}

  bool take(WorkItem& item) {
    std::size_t bytes = 0;
    while (source_ < options_.sources.size() && item.records.empty()) {
      if (!reader_) reader_ = open();
      item.source = source_;
      Record record;
      while (item.records.size() < batch_records && bytes < batch_bytes && reader_->next(record)) {
        bytes += record.bytes.size();
        item.records.push_back(std::move(record));
      }
      item.bytes_read = n_before_ + reader_->bytes_read();
      if (item.records.empty()) {
        n_before_ += reader_->bytes_read();
        reader_.reset();
        ++source_;
      }
    }
    return !item.records.empty();
  }

 private:
  std::unique_ptr<RecordReader> open() const {
    const SourceOptions& source = options_.sources[source_];
    if (source.format == SourceFormat::parquet && options_.open_other)
      return options_.open_other(source, options_.limits);
    return read_records(source, options_.limits);
  }

  const BuildOptions& options_;
  std::size_t source_ = 0;
  std::unique_ptr<RecordReader> reader_;
  std::uint64_t n_before_ = 0;
};

class Worker {
 public:
  explicit Worker(const BuildOptions& options) : options_(options), encoder_(options.tokenizer, options.end_token) {}

  void work(WorkItem& item) const {
    item.outcomes.reserve(item.records.size());
    for (Record& record : item.records) item.outcomes.push_back(outcome(record, item));
    item.records.clear();
  }

 private:
  Outcome outcome(Record& record, WorkItem& item) const {
    const SourceOptions& source = options_.sources[item.source];
    Outcome result;
    result.bytes = record.dropped != nullptr ? record.dropped_bytes : static_cast<std::int64_t>(record.bytes.size());
    item.counts.read.add(result.bytes);
    if (record.cut) ++item.counts.notes["part_of_a_long_text"];
    const bool cut = record.cut;
    Document document = read_document(record, source, options_.filters.invalid_utf8);
    if (document.invalid_utf8) ++item.counts.notes["invalid_utf8_replaced"];
    result.dropped = document.dropped;
    if (result.dropped != nullptr) return result;
    if (document.is_conversation) {
      for (ChatMessage& message : document.messages) clean_text(message.content, options_.filters, item.counts);
      encode_conversation(document, record, source, result);
    } else {
      const bool is_code = source.format == SourceFormat::code;
      result.dropped = filter_text(document.text, is_code, options_.filters, item.counts, result.language);
      if (result.dropped == nullptr) encode_text(document.text, cut, item, result);
    }
    return result;
  }

  void encode_conversation(const Document& document, const Record& record, const SourceOptions& source,
                           Outcome& result) const {
    MaskedConversation conversation =
        mask_conversation(document.messages, *options_.chat_template, *options_.tokenizer);
    result.dropped = conversation.dropped;
    const bool is_empty = conversation.dropped != nullptr && std::string_view(conversation.dropped) == "empty_mask";
    if (is_empty && !options_.filters.drop_empty_masks)
      throw Error(ErrorKind::invalid_argument, "nothing of this conversation would be learnt: it has no answer",
                  fmt::format("{}:{}", source.files[record.file].string(), record.line),
                  "mend it, or say empty_mask = \"drop\" under [filters]");
    result.key = text_key(conversation.text);
    for (MaskedTokens& one : conversation.documents)
      result.documents.push_back({std::move(one.ids), std::move(one.mask)});
  }

  /// Long texts in pieces, as texts of files are.
  void encode_text(std::string_view text, bool cut, WorkItem& item, Outcome& result) const {
    result.key = text_key(text);
    if (options_.filters.near_duplicates > 0) result.signature = MinHash::signature(text);
    while (!text.empty()) {
      const std::size_t most = options_.limits.document_bytes;
      const std::size_t end = text.size() > most ? cut_place(text, most) : text.size();
      if (end < text.size() && !cut) ++item.counts.notes["part_of_a_long_text"];
      result.documents.push_back({.ids = encoder_.encode(text.substr(0, end)), .mask = {}});
      text.remove_prefix(end);
    }
  }

  const BuildOptions& options_;
  TextEncoder encoder_;
};

/// Takes outcomes in order: finds duplicates, writes, counts.
class Finisher {
 public:
  Finisher(const BuildOptions& options, const std::vector<std::size_t>& domain_of, ShardSet& shards,
           std::vector<Counts>& counts, std::uint64_t total_bytes)
      : options_(options),
        domain_of_(domain_of),
        shards_(shards),
        counts_(counts),
        total_bytes_(total_bytes),
        near_(options.filters.near_duplicates) {}

  void finish(WorkItem& item) {
    const std::size_t domain = domain_of_[item.source];
    Counts& counts = counts_[domain];
    counts += item.counts;
    for (Outcome& outcome : item.outcomes) {
      if (outcome.dropped == nullptr && options_.filters.exact_duplicates && !seen_.add(outcome.key))
        outcome.dropped = "duplicate";
      if (outcome.dropped == nullptr && outcome.signature && !near_.add(*outcome.signature))
        outcome.dropped = "near_duplicate";
      if (outcome.dropped != nullptr) {
        counts.dropped[outcome.dropped].add(outcome.bytes);
      } else {
        keep(outcome, domain, counts);
      }
    }
    if (options_.progress && !options_.progress(item.bytes_read, total_bytes_))
      throw Error(ErrorKind::cancelled, "interrupted");
  }

 private:
  void keep(const Outcome& outcome, std::size_t domain, Counts& counts) {
    // By content: a text goes to the same split however often the data are built.
    const bool held_out = static_cast<double>(outcome.key.high >> 11) * 0x1p-53 < options_.held_out;
    for (const Encoded& document : outcome.documents) {
      shards_.add(domain, held_out, document.ids, document.mask);
      const auto n_tokens = static_cast<std::int64_t>(document.ids.size());
      counts.tokens += n_tokens;
      counts.learnt_tokens += document.mask.empty() ? n_tokens : std::ranges::count(document.mask, std::uint8_t{1});
      counts.add_length(n_tokens);
    }
    if (!outcome.language.empty()) counts.languages[outcome.language].add(outcome.bytes);
    (held_out ? counts.held_out : counts.kept).add(outcome.bytes);
  }

  const BuildOptions& options_;
  const std::vector<std::size_t>& domain_of_;
  ShardSet& shards_;
  std::vector<Counts>& counts_;
  std::uint64_t total_bytes_;
  SeenTexts seen_;
  NearDuplicates near_;
};

/// The domains of all sources, in the order in which they are named. Sources may share one.
std::vector<ManifestDomain> domains_of(const BuildOptions& options, std::vector<std::size_t>& domain_of) {
  std::vector<ManifestDomain> domains;
  for (const SourceOptions& source : options.sources) {
    const std::string where = "source '" + source.domain + "'";
    if (!is_domain_name(source.domain))
      throw Error(ErrorKind::invalid_argument, "a domain's name has letters, digits, - and _", where);
    const auto found = std::ranges::find(domains, source.domain, &ManifestDomain::name);
    domain_of.push_back(static_cast<std::size_t>(found - domains.begin()));
    if (found == domains.end()) {
      domains.push_back({source.domain, source.level, source.weight, {}});
    } else if (found->level != source.level || found->weight != source.weight) {
      throw Error(ErrorKind::invalid_argument, "sources of one domain have one level and one weight", where);
    }
  }
  const auto n_weighted = std::ranges::count_if(domains, [](const auto& domain) { return domain.weight.has_value(); });
  if (n_weighted != 0 && n_weighted != static_cast<std::ptrdiff_t>(domains.size()))
    throw Error(ErrorKind::invalid_argument, "some domains have a weight and others have none", "sources",
                "give all of them one, or none for a mix by size");
  return domains;
}

std::uint64_t total_bytes(const BuildOptions& options) {
  std::uint64_t sum = 0;
  std::error_code unknown;
  for (const SourceOptions& source : options.sources)
    for (const fs::path& file : source.files)
      if (const auto size = fs::file_size(file, unknown); !unknown) sum += size;
  return sum;
}

void write_text(const fs::path& path, const std::string& text) {
  OutputFile file(path, false);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace

BuildResult build_dataset(const BuildOptions& options) {
  if (options.sources.empty()) throw Error(ErrorKind::invalid_argument, "there is no source", "sources");
  if (!(options.held_out >= 0 && options.held_out < 1))
    throw Error(ErrorKind::invalid_argument, "expected a share from 0 to below 1", "held_out");
  const bool chats = std::ranges::any_of(options.sources, [](const auto& one) { return !one.messages.empty(); });
  if (chats && options.chat_template == nullptr)
    throw Error(ErrorKind::invalid_argument, "a source has messages, but the model carries no chat template",
                "tokenizer", "name a model that has one");
  BuildResult result;
  std::vector<std::size_t> domain_of;
  Manifest& manifest = result.manifest;
  manifest.tokenizer = tokenizer_digest(*options.tokenizer);
  manifest.vocabulary_size = used_vocabulary(*options.tokenizer);
  manifest.settings = options.settings;
  manifest.domains = domains_of(options, domain_of);
  result.counts.resize(manifest.domains.size());

  TargetFolder folder(options.out, options.replace);
  ShardSet shards(folder.path(), manifest, options.shard_tokens);
  Taker taker(options);
  const Worker worker(options);
  Finisher finisher(options, domain_of, shards, result.counts, total_bytes(options));
  const int n_threads = options.n_threads > 0 ? options.n_threads : usable_processors();
  run_ordered<WorkItem>(
      n_threads, [&](WorkItem& item) { return taker.take(item); }, [&](WorkItem& item) { worker.work(item); },
      [&](WorkItem& item) { finisher.finish(item); });
  shards.finish();
  if (manifest.shards.empty()) {
    std::string reasons;
    for (const Counts& counts : result.counts)
      for (const auto& [reason, tally] : counts.dropped)
        reasons += fmt::format("{}{} {}", reasons.empty() ? "" : ", ", tally.documents, reason);
    throw Error(ErrorKind::invalid_argument,
                "no document is left" + (reasons.empty() ? std::string() : " (dropped: " + reasons + ")"), "sources");
  }
  for (std::size_t i = 0; i < result.counts.size(); ++i) manifest.domains[i].report = result.counts[i].json();
  const fs::path name = options.out.has_filename() ? options.out : options.out.parent_path();
  write_text(folder.path() / report_name, report_page(manifest, name.filename().string()));
  write_text(folder.path() / manifest_name, manifest.text());
  folder.commit();
  return result;
}

}  // namespace moebox::data
