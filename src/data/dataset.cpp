#include "data/dataset.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <thread>

#include <fmt/core.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/thread_team.h"
#include "data/digest.h"
#include "data/manifest_fields.h"

namespace moebox::data {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t max_manifest_bytes = std::size_t{64} << 20;
constexpr std::size_t max_shards = 1'000'000, max_domains = 10'000;

bool is_shard_name(std::string_view file) {
  constexpr std::string_view ending = ".safetensors";
  return file.size() > ending.size() && file.size() <= 200 && file.ends_with(ending) &&
         is_domain_name(file.substr(0, std::min<std::size_t>(64, file.size() - ending.size()))) &&
         std::ranges::all_of(file.substr(0, file.size() - ending.size()),
                             [](char c) { return is_domain_name(std::string_view(&c, 1)); });
}

ManifestDomain read_domain(const nlohmann::json& value, const std::string& where) {
  const ManifestFields fields(value, where, {"name", "level", "weight", "report"});
  ManifestDomain domain;
  domain.name = fields.text("name");
  if (!is_domain_name(domain.name)) fields.refuse("name", "a name of letters, digits, - and _");
  const auto level = level_from_name(fields.text("level"));
  if (!level) fields.refuse("level", "general, domain or synthetic");
  domain.level = *level;
  if (const nlohmann::json& weight = fields.value("weight"); !weight.is_null()) {
    if (!weight.is_number() || !(weight.get<double>() >= 0) || !std::isfinite(weight.get<double>()))
      fields.refuse("weight", "a number from 0, or null");
    domain.weight = weight.get<double>();
  }
  domain.report = Json::parse(fields.value("report").dump());
  return domain;
}

ManifestShard read_shard(const nlohmann::json& value, const std::vector<ManifestDomain>& domains,
                         const std::string& where) {
  const ManifestFields fields(value, where, {"file", "split", "domain", "documents", "tokens", "bytes", "digest"});
  ManifestShard shard;
  shard.record.file = fields.text("file");
  if (!is_shard_name(shard.record.file)) fields.refuse("file", "a name in this folder that ends in .safetensors");
  shard.split = fields.text("split");
  if (shard.split != train_split && shard.split != held_out_split) fields.refuse("split", "train or held_out");
  const std::string domain = fields.text("domain");
  const auto found = std::ranges::find(domains, domain, &ManifestDomain::name);
  if (found == domains.end()) fields.refuse("domain", "the name of one of the domains");
  shard.domain = static_cast<std::size_t>(found - domains.begin());
  shard.record.n_documents = fields.count("documents");
  shard.record.n_tokens = fields.count("tokens");
  shard.record.n_bytes = fields.count("bytes");
  shard.record.digest = fields.text("digest");
  if (!is_hex_digest(shard.record.digest)) fields.refuse("digest", "64 hexadecimal digits");
  return shard;
}

/// Calls work(i) for 0 <= i < count on several threads; the error of the lowest i is thrown.
template <class Work>
void for_each_index(std::size_t count, int n_threads, Work&& work) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  std::size_t error_at = count;
  const auto run = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (i < error_at) error = std::current_exception();
        error_at = std::min(error_at, i);
      }
    }
  };
  std::vector<std::jthread> threads;
  const auto wanted = std::min<std::size_t>(count, static_cast<std::size_t>(std::max(n_threads, 1)));
  for (std::size_t i = 1; i < wanted; ++i) threads.emplace_back(run);
  run();
  threads.clear();
  if (error) std::rethrow_exception(error);
}

void check_against(const Shard& shard, const ManifestShard& entry, const Manifest& manifest, const std::string& where) {
  const ShardLabel& label = shard.label();
  const auto differ = [&](const std::string& what) {
    throw Error(ErrorKind::invalid_file, "the manifest says another " + what + " of this shard", where,
                "build the data again");
  };
  if (label.tokenizer != manifest.tokenizer) differ("tokenizer");
  if (label.vocabulary_size != manifest.vocabulary_size) differ("size of the vocabulary");
  if (label.domain != manifest.domains[entry.domain].name) differ("domain");
  if (label.level != manifest.domains[entry.domain].level) differ("level");
  if (shard.n_documents() != entry.record.n_documents) differ("number of documents");
  if (shard.n_tokens() != entry.record.n_tokens) differ("number of tokens");
}

}  // namespace

Manifest Manifest::parse(std::string_view text, const std::string& where) {
  const nlohmann::json document = parse_json(text, where);
  if (!document.is_object() || !document.contains("format") || document["format"] != shard_format)
    throw Error(ErrorKind::invalid_file, fmt::format("expected the format {}", shard_format), where,
                "is this the manifest of moebox data?");
  const ManifestFields fields(
      document, where, {"format", "format_version", "tokenizer", "vocabulary_size", "domains", "shards", "settings"});
  if (fields.count("format_version") != shard_format_version)
    throw Error(ErrorKind::unsupported,
                fmt::format("this moebox reads data of version {}, found {}", shard_format_version,
                            fields.count("format_version")),
                where, "build the data again");
  Manifest manifest;
  manifest.tokenizer = fields.text("tokenizer");
  if (!is_hex_digest(manifest.tokenizer)) fields.refuse("tokenizer", "64 hexadecimal digits");
  manifest.vocabulary_size = checked_cast<int>(fields.count("vocabulary_size"), where);
  manifest.settings = Json::parse(fields.value("settings").dump());
  for (const nlohmann::json& value : fields.list("domains", max_domains)) {
    ManifestDomain domain = read_domain(value, where);
    for (const ManifestDomain& other : manifest.domains)
      if (other.name == domain.name) fields.refuse("domains", "each domain once");
    manifest.domains.push_back(std::move(domain));
  }
  for (const nlohmann::json& value : fields.list("shards", max_shards))
    manifest.shards.push_back(read_shard(value, manifest.domains, where));
  std::vector<std::string_view> files;
  for (const ManifestShard& shard : manifest.shards) files.push_back(shard.record.file);
  std::ranges::sort(files);
  if (std::ranges::adjacent_find(files) != files.end()) fields.refuse("shards", "each file once");
  return manifest;
}

std::string Manifest::text() const {
  Json domain_list = Json::array(), shard_list = Json::array();
  for (const ManifestDomain& domain : domains)
    domain_list.push_back({{"name", domain.name},
                           {"level", name(domain.level)},
                           {"weight", domain.weight ? Json(*domain.weight) : Json()},
                           {"report", domain.report}});
  for (const ManifestShard& shard : shards)
    shard_list.push_back({{"file", shard.record.file},
                          {"split", shard.split},
                          {"domain", domains[shard.domain].name},
                          {"documents", shard.record.n_documents},
                          {"tokens", shard.record.n_tokens},
                          {"bytes", shard.record.n_bytes},
                          {"digest", shard.record.digest}});
  const Json document = {{"format", shard_format}, {"format_version", shard_format_version},
                         {"tokenizer", tokenizer}, {"vocabulary_size", vocabulary_size},
                         {"settings", settings},   {"domains", domain_list},
                         {"shards", shard_list}};
  return document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Manifest Manifest::read(const std::filesystem::path& folder) {
  const auto path = folder / manifest_name;
  const MappedFile file(path);
  if (file.bytes().size() > max_manifest_bytes)
    throw Error(ErrorKind::invalid_file, fmt::format("is larger than {} bytes", max_manifest_bytes), path.string());
  return parse({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string());
}

std::vector<const ManifestShard*> Manifest::shards_of(std::string_view split) const {
  std::vector<const ManifestShard*> wanted;
  for (const ManifestShard& shard : shards)
    if (shard.split == split) wanted.push_back(&shard);
  std::ranges::stable_sort(wanted, {}, &ManifestShard::domain);
  return wanted;
}

std::string Manifest::digest(std::string_view split) const {
  Hasher digest;
  for (const ManifestShard* shard : shards_of(split)) digest.add(shard->record.digest);
  return hex(digest.finish());
}

Dataset Dataset::open(const std::filesystem::path& folder, const Options& options) {
  const auto path = folder / manifest_name;
  const Manifest manifest = Manifest::read(folder);
  if (!options.tokenizer.empty() && options.tokenizer != manifest.tokenizer)
    throw Error(ErrorKind::invalid_argument,
                fmt::format("the data were made with the tokenizer {}..., the model's is {}...",
                            manifest.tokenizer.substr(0, 16), options.tokenizer.substr(0, 16)),
                path.string(), "build the data with the model's tokenizer");
  const std::vector<const ManifestShard*> wanted = manifest.shards_of(options.split);
  if (wanted.empty())
    throw Error(ErrorKind::invalid_argument, fmt::format("the data have no split '{}'", options.split), path.string());

  std::vector<std::optional<Shard>> shards(wanted.size());
  const int n_threads = options.n_threads > 0 ? options.n_threads : usable_processors();
  for_each_index(wanted.size(), n_threads, [&](std::size_t i) {
    const auto shard_path = folder / wanted[i]->record.file;
    shards[i].emplace(shard_path, wanted[i]->record.digest);
    check_against(*shards[i], *wanted[i], manifest, shard_path.string());
  });
  Dataset dataset;
  for (std::optional<Shard>& shard : shards) dataset.shards_.push_back(std::move(*shard));
  dataset.digest_ = manifest.digest(options.split);
  dataset.number_documents();
  for (Domain& domain : dataset.domains_)
    domain.weight = std::ranges::find(manifest.domains, domain.name, &ManifestDomain::name)->weight;
  return dataset;
}

Dataset Dataset::of(std::vector<Shard> shards) {
  Dataset dataset;
  dataset.shards_ = std::move(shards);
  dataset.number_documents();
  Hasher digest;
  for (const Shard& shard : dataset.shards_)
    digest.add(shard.label().domain).add_number(static_cast<std::uint64_t>(shard.n_tokens()));
  dataset.digest_ = hex(digest.finish());
  return dataset;
}

void Dataset::number_documents() {
  for (const Shard& shard : shards_) {
    const ShardLabel& label = shard.label();
    tokenizer_ = label.tokenizer;
    vocabulary_size_ = label.vocabulary_size;
    if (domains_.empty() || domains_.back().name != label.domain)
      domains_.push_back({label.domain, label.level, std::nullopt, 0, 0, n_documents_});
    first_documents_.push_back(n_documents_);
    n_documents_ += shard.n_documents();
    n_tokens_ += shard.n_tokens();
    domains_.back().n_documents += shard.n_documents();
    domains_.back().n_tokens += shard.n_tokens();
  }
}

Dataset::Place Dataset::document(std::int64_t number) const noexcept {
  const auto after = std::ranges::upper_bound(first_documents_, number);
  const auto shard = static_cast<std::size_t>(after - first_documents_.begin()) - 1;
  return {&shards_[shard], shards_[shard].document(number - first_documents_[shard])};
}

}  // namespace moebox::data
