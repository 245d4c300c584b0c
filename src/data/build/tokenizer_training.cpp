#include "data/build/tokenizer_training.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <set>

#include "base/error.h"
#include "base/thread_team.h"
#include "data/build/ordered_work.h"
#include "tokenizer/named_pre_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace moebox::data {
namespace {

using Json = nlohmann::ordered_json;

struct TextBatch {
  std::size_t source = 0;
  std::vector<Record> records;
  WordCounts words;
  std::uint64_t n_bytes = 0, bytes_read = 0;
};

class TextReaders {
 public:
  explicit TextReaders(const TokenizerTrainingOptions& options) : options_(options) {}

  bool take(TextBatch& batch) {
    constexpr std::size_t most_bytes = std::size_t{1} << 20;
    std::size_t bytes = 0;
    while (source_ < options_.sources.size() && batch.records.empty()) {
      if (!reader_) reader_ = read_records(options_.sources[source_], options_.limits);
      batch.source = source_;
      for (Record record; bytes < most_bytes && reader_->next(record);) {
        bytes += record.bytes.size() + 1;
        batch.records.push_back(std::move(record));
      }
      batch.bytes_read = n_before_ + reader_->bytes_read();
      if (batch.records.empty()) {
        n_before_ += reader_->bytes_read();
        reader_.reset();
        ++source_;
      }
    }
    return !batch.records.empty();
  }

 private:
  const TokenizerTrainingOptions& options_;
  std::size_t source_ = 0;
  std::unique_ptr<RecordReader> reader_;
  std::uint64_t n_before_ = 0;
};

class WordCounter {
 public:
  explicit WordCounter(const TokenizerTrainingOptions& options)
      : options_(options), splitter_(make_named_pre_tokenizer(options.pre_tokenizer)) {}

  void count(TextBatch& batch) const {
    for (Record& record : batch.records) {
      const Document document = read_document(record, options_.sources[batch.source], options_.invalid_utf8);
      if (document.dropped != nullptr || document.is_conversation) continue;
      batch.n_bytes += document.text.size();
      std::string_view text = document.text;
      while (options_.by_line && !text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
        count_text(text.substr(0, end), batch.words);
        text.remove_prefix(end);
      }
      if (!text.empty()) count_text(text, batch.words);
    }
    batch.records.clear();
  }

 private:
  void count_text(std::string_view text, WordCounts& words) const {
    MatchBudget budget(text.size());
    std::string normal;
    if (splitter_.normalizer && splitter_.normalizer->apply(text, normal, budget)) text = normal;
    std::deque<std::string> kept;
    splitter_.pre_tokenizer.split(text, true, budget, kept, [&](std::string_view word) { words.add(word); });
  }

  const TokenizerTrainingOptions& options_;
  NamedPreTokenizer splitter_;
};

Json merges_json(const TrainedBpe& bpe) {
  // Of a pair that was merged twice (two pairs may spell one token) the last place counts, as there.
  std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
  std::vector<Json> merges;
  for (auto merge = bpe.merges.rbegin(); merge != bpe.merges.rend(); ++merge)
    if (seen.insert(*merge).second) merges.push_back({bpe.tokens[merge->first], bpe.tokens[merge->second]});
  std::ranges::reverse(merges);
  return merges;
}

std::uint64_t all_bytes(const std::vector<SourceOptions>& sources) {
  std::uint64_t sum = 0;
  std::error_code unknown;
  for (const SourceOptions& source : sources)
    for (const auto& file : source.files)
      if (const auto size = std::filesystem::file_size(file, unknown); !unknown) sum += size;
  return sum;
}

}  // namespace

Json tokenizer_frame(const std::string& pre_tokenizer) {
  const PreTokenizerSpec spec = named_pre_tokenizer_spec(pre_tokenizer);
  const auto byte_level = [](bool add_prefix_space, bool use_regex) {
    return Json{{"type", "ByteLevel"},
                {"add_prefix_space", add_prefix_space},
                {"trim_offsets", true},
                {"use_regex", use_regex}};
  };
  Json steps = Json::array();
  for (const auto& step : spec.steps) {
    if (step.regex.empty()) {
      steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
    } else {
      steps.push_back(
          {{"type", "Split"}, {"pattern", {{"Regex", step.regex}}}, {"behavior", "Isolated"}, {"invert", false}});
    }
  }
  // GPT-2's own expression is a part of the step ByteLevel.
  const bool ends_as_gpt2 = spec.steps.back().regex == kGpt2Regex;
  if (ends_as_gpt2) steps.erase(steps.size() - 1);
  steps.push_back(byte_level(false, ends_as_gpt2));
  const Json splitter = steps.size() == 1 ? steps[0] : Json{{"type", "Sequence"}, {"pretokenizers", steps}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", Json::array()},
          {"normalizer", spec.nfc ? Json{{"type", "NFC"}} : Json()},
          {"pre_tokenizer", splitter},
          {"post_processor", nullptr},
          {"decoder", byte_level(true, true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", Json::object()},
            {"merges", Json::array()}}}};
}

TrainedTokenizer train_tokenizer(const TokenizerTrainingOptions& options) {
  TrainedTokenizer trained;
  trained.document = tokenizer_frame(options.pre_tokenizer);
  WordCounts words;
  TextReaders readers(options);
  const WordCounter counter(options);
  const std::uint64_t total = all_bytes(options.sources);
  run_ordered<TextBatch>(
      options.n_threads > 0 ? options.n_threads : usable_processors(),
      [&](TextBatch& batch) { return readers.take(batch); }, [&](TextBatch& batch) { counter.count(batch); },
      [&](TextBatch& batch) {
        words.merge(batch.words);
        trained.n_bytes += batch.n_bytes;
        if (options.progress && !options.progress(batch.bytes_read, total))
          throw Error(ErrorKind::cancelled, "interrupted");
      });
  if (words.size() == 0) throw Error(ErrorKind::invalid_argument, "there is no text to learn from", "sources");
  const TrainedBpe bpe = train_bpe(words, options.bpe);

  Json& model = trained.document["model"];
  Json vocabulary = Json::object();
  // Straight into the list of members: a look-up of each key first would take the square of their number.
  auto& members = vocabulary.get_ref<Json::object_t&>();
  members.reserve(bpe.tokens.size());
  for (std::size_t id = 0; id < bpe.tokens.size(); ++id)
    static_cast<Json::object_t::Container&>(members).emplace_back(bpe.tokens[id], id);
  model["vocab"] = std::move(vocabulary);
  model["merges"] = merges_json(bpe);
  for (std::size_t id = 0; id < options.bpe.special_tokens.size(); ++id)
    trained.document["added_tokens"].push_back({{"id", id},
                                                {"content", options.bpe.special_tokens[id]},
                                                {"single_word", false},
                                                {"lstrip", false},
                                                {"rstrip", false},
                                                {"normalized", false},
                                                {"special", true}});
  trained.n_tokens = bpe.tokens.size();
  trained.n_merges = bpe.merges.size();
  trained.n_words = words.size();
  return trained;
}

}  // namespace moebox::data
