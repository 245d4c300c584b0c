// Helpers of the tests of data: shards and data sets of given documents.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/digest.h"
#include "data/shard.h"
#include "io/io_testing.h"

namespace moebox::test {

struct TestDocument {
  std::vector<TokenId> ids;
  std::vector<std::uint8_t> mask = {};
};

inline data::ShardLabel label_of(const std::string& domain, int vocabulary_size = 1000) {
  return {.tokenizer = data::hex(data::Digest{}),
          .vocabulary_size = vocabulary_size,
          .domain = domain,
          .level = data::Level::general};
}

inline data::ShardRecord write_shard(const std::filesystem::path& folder, const std::string& file,
                                     const data::ShardLabel& label, const std::vector<TestDocument>& documents) {
  data::ShardWriter writer(label);
  for (const TestDocument& document : documents) writer.add(document.ids, document.mask);
  return writer.write(folder, file);
}

/// Documents of the lengths given; every token tells its document and place: (document * 37 + place) % vocabulary.
inline std::vector<TestDocument> documents_of(const std::vector<int>& lengths, int vocabulary_size = 1000) {
  std::vector<TestDocument> documents;
  for (const int length : lengths) {
    TestDocument document;
    for (int i = 0; i < length; ++i)
      document.ids.push_back((static_cast<int>(documents.size()) * 37 + i) % vocabulary_size);
    documents.push_back(std::move(document));
  }
  return documents;
}

struct TestDomain {
  std::string name;
  std::vector<TestDocument> documents;
  std::optional<double> weight = {};
  data::Level level = data::Level::general;
};

/// Writes shards of at most `shard_documents` documents, and the manifest.
inline data::Manifest write_dataset(const std::filesystem::path& folder, const std::vector<TestDomain>& domains,
                                    std::size_t shard_documents = 50, const std::string& split = "train") {
  data::Manifest manifest;
  manifest.settings = nlohmann::ordered_json::object();
  for (const TestDomain& domain : domains) {
    data::ShardLabel label = label_of(domain.name);
    label.level = domain.level;
    manifest.tokenizer = label.tokenizer;
    manifest.vocabulary_size = label.vocabulary_size;
    manifest.domains.push_back({domain.name, domain.level, domain.weight, nlohmann::ordered_json::object()});
    for (std::size_t begin = 0; begin < domain.documents.size(); begin += shard_documents) {
      const auto first = domain.documents.begin() + static_cast<std::ptrdiff_t>(begin);
      const auto count = std::min(shard_documents, domain.documents.size() - begin);
      const std::string file = split + "-" + domain.name + "-" + std::to_string(begin) + ".safetensors";
      manifest.shards.push_back({write_shard(folder, file, label, {first, first + static_cast<std::ptrdiff_t>(count)}),
                                 split, manifest.domains.size() - 1});
    }
  }
  write_file(folder / data::manifest_name, manifest.text());
  return manifest;
}

}  // namespace moebox::test
