#include "data/loader.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/core.h>

#include "base/error.h"
#include "data/digest.h"
#include "data/manifest_fields.h"
#include "data/random.h"

namespace moebox::data {
namespace {

using Json = nlohmann::ordered_json;

constexpr int max_row_tokens = 1 << 24, max_rows = 1 << 20;

[[noreturn]] void refuse(std::string message, std::string where, std::string hint = {}) {
  throw Error(ErrorKind::invalid_argument, std::move(message), std::move(where), std::move(hint));
}

void check(const LoaderOptions& options) {
  const auto expect = [](bool good, const char* what, const char* expected) {
    if (!good) refuse(fmt::format("expected {}", expected), what);
  };
  expect(options.rows >= 1 && options.rows <= max_rows, "rows", "1 to 1048576");
  expect(options.row_tokens >= 2 && options.row_tokens <= max_row_tokens, "row_tokens", "2 to 16777216");
  expect(options.window_rows >= 1 && options.window_rows <= max_rows, "window_rows", "1 to 1048576");
  expect(options.max_padding >= 0 && options.max_padding <= 1, "max_padding", "a share from 0 to 1");
  for (const double share : options.level_shares)
    expect(share >= 0 && std::isfinite(share), "level_shares", "numbers from 0");
}

/// How far a domain has been drawn.
struct Progress {
  std::int64_t epoch = 0;
  std::int64_t position = 0;  // documents of this epoch that were drawn
  std::int64_t pairs = 0;     // that were drawn in all
};

/// What the rows depend on, apart from the data; also for the comparison when a state is restored.
Json stream_options(const LoaderOptions& options, const std::vector<double>& shares) {
  return {{"rows", options.rows},
          {"row_tokens", options.row_tokens},
          {"seed", options.seed},
          {"repeat", options.repeat},
          {"shuffle", options.shuffle},
          {"window_rows", options.window_rows},
          {"max_padding", options.max_padding},
          {"shares", shares}};
}

/// Each domain's share of the mix; they sum to 1.
std::vector<double> shares_of(const Dataset& dataset, const LoaderOptions& options) {
  const auto& domains = dataset.domains();
  std::vector<double> shares;
  for (const auto& [name, weight] : options.weights) {
    if (std::ranges::find(domains, name, &Dataset::Domain::name) == domains.end())
      refuse(fmt::format("the data have no domain '{}'", name), "weights");
    if (!(weight >= 0) || !std::isfinite(weight)) refuse("expected numbers from 0", "weights: " + name);
  }
  for (const Dataset::Domain& domain : domains) {
    const auto given = options.weights.find(domain.name);
    if (!options.weights.empty() && given == options.weights.end())
      refuse(fmt::format("expected a weight for every domain; '{}' has none", domain.name), "weights");
    const auto pairs = static_cast<double>(domain.n_tokens - domain.n_documents);
    double share = given != options.weights.end() ? given->second : domain.weight.value_or(pairs);
    if (pairs == 0) share = 0;  // documents of one token: nothing follows it
    shares.push_back(share);
  }
  const bool by_level = std::ranges::any_of(options.level_shares, [](double share) { return share > 0; });
  for (const Level level : {Level::general, Level::domain, Level::synthetic}) {
    if (!by_level) break;
    double sum = 0;
    for (std::size_t i = 0; i < shares.size(); ++i)
      if (domains[i].level == level) sum += shares[i];
    const double wanted = options.level_shares[static_cast<std::size_t>(level)];
    if (sum == 0 && wanted > 0)
      refuse(fmt::format("the data have nothing of the level {}", name(level)), "level_shares");
    for (std::size_t i = 0; i < shares.size(); ++i)
      if (domains[i].level == level) shares[i] = sum > 0 ? shares[i] / sum * wanted : 0;
  }
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  if (!(sum > 0))
    refuse("no domain has a token to learn, or a weight above 0", "weights",
           "of a document the first token is not learnt: one of a single token teaches nothing");
  for (double& share : shares) share /= sum;
  return shares;
}

}  // namespace

struct Loader::State {
  std::shared_ptr<const Dataset> dataset;
  LoaderOptions options;
  std::vector<double> shares;
  std::int64_t n_batches = 0;
  // The present window: it was drawn from `begin`, which became `end`.
  std::int64_t window = 0;
  std::vector<Progress> begin = {}, end = {};
  std::vector<Row> rows = {};
  std::size_t next_row = 0;

  /// The domain that is farthest behind its share, or -1 when there is nothing left.
  int choose() const {
    int best = -1;
    double least = 0;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      if (shares[i] == 0) continue;
      if (!options.repeat) {
        if (end[i].epoch == 0) return static_cast<int>(i);
        continue;
      }
      const double progress = static_cast<double>(end[i].pairs) / shares[i];
      if (best < 0 || progress < least) {
        best = static_cast<int>(i);
        least = progress;
      }
    }
    return best;
  }

  /// The number of the next document of a domain.
  std::int64_t draw(std::size_t domain) {
    const Dataset::Domain& source = dataset->domains()[domain];
    Progress& progress = end[domain];
    auto at = static_cast<std::uint64_t>(progress.position);
    if (options.shuffle) {
      const auto key = mix(options.seed, domain + 1, static_cast<std::uint64_t>(progress.epoch));
      at = Permutation(static_cast<std::uint64_t>(source.n_documents), key)(at);
    }
    if (++progress.position == source.n_documents) {
      ++progress.epoch;
      progress.position = 0;
    }
    return source.first_document + static_cast<std::int64_t>(at);
  }

  /// Draws and packs the window that begins at `begin`.
  void make_window() {
    end = begin;
    std::vector<Piece> pieces;
    const std::int64_t wanted = std::int64_t{options.window_rows} * options.row_tokens;
    for (std::int64_t drawn = 0; drawn < wanted;) {
      const int domain = choose();
      if (domain < 0) break;
      const std::int64_t document = draw(static_cast<std::size_t>(domain));
      const std::int64_t pairs = dataset->document(document).range.size() - 1;
      for (std::int64_t offset = 0; offset < pairs; offset += options.row_tokens)
        pieces.push_back(
            {document, offset, static_cast<int>(std::min<std::int64_t>(options.row_tokens, pairs - offset))});
      end[static_cast<std::size_t>(domain)].pairs += pairs;
      drawn += pairs;
    }
    rows = pack_rows(std::move(pieces), {.row_tokens = options.row_tokens, .max_padding = options.max_padding});
    if (options.shuffle) shuffle(std::span(rows), mix(options.seed, 0, static_cast<std::uint64_t>(window)));
  }

  /// The next row, or nullptr at the end.
  const Row* take() {
    if (next_row == rows.size() && !rows.empty()) {
      begin = end;
      ++window;
      next_row = 0;
      make_window();
    }
    return rows.empty() ? nullptr : &rows[next_row++];
  }

  /// Writes row `row` of `batch`.
  void fill(Batch& batch, int row, const Row& pieces) const {
    auto at = static_cast<std::size_t>(row) * static_cast<std::size_t>(options.row_tokens);
    std::vector<TokenId> ids;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const Piece& piece = pieces[i];
      const auto [shard, range] = dataset->document(piece.document);
      const auto length = static_cast<std::size_t>(piece.length);
      ids.resize(length + 1);
      shard->copy_tokens(range.begin + piece.offset, ids);
      std::copy_n(ids.begin(), length, batch.tokens.begin() + static_cast<std::ptrdiff_t>(at));
      std::copy_n(ids.begin() + 1, length, batch.targets.begin() + static_cast<std::ptrdiff_t>(at));
      shard->copy_mask(range.begin + piece.offset + 1, std::span(batch.mask).subspan(at, length));
      for (std::size_t k = 0; k < length; ++k) {
        batch.documents[at + k] = static_cast<std::int32_t>(i);
        batch.positions[at + k] = static_cast<std::int32_t>(k);
      }
      batch.sources.push_back({row, piece});
      at += length;
    }
  }

  std::int64_t count_learnt(const Row& pieces, std::vector<std::uint8_t>& mask) const {
    std::int64_t learnt = 0;
    for (const Piece& piece : pieces) {
      const auto [shard, range] = dataset->document(piece.document);
      if (!shard->has_mask()) {
        learnt += piece.length;
        continue;
      }
      mask.resize(static_cast<std::size_t>(piece.length));
      shard->copy_mask(range.begin + piece.offset + 1, mask);
      learnt += std::accumulate(mask.begin(), mask.end(), std::int64_t{0});
    }
    return learnt;
  }
};

Loader::Loader(std::shared_ptr<const Dataset> dataset, LoaderOptions options) : state_(std::make_unique<State>()) {
  check(options);
  state_->dataset = std::move(dataset);
  state_->options = std::move(options);
  state_->shares = shares_of(*state_->dataset, state_->options);
  state_->begin.resize(state_->shares.size());
  state_->make_window();
}

Loader::~Loader() = default;
Loader::Loader(Loader&&) noexcept = default;
Loader& Loader::operator=(Loader&&) noexcept = default;

Batch Loader::next(int rank, int world) {
  const int rows = state_->options.rows;
  if (world < 1 || rank < 0 || rank >= world || rows % world != 0)
    refuse(fmt::format("{} rows cannot be shared by {} ranks evenly, or there is no rank {}", rows, world, rank),
           "rows", "choose a batch that the number of ranks divides");
  return next_rows(rank * (rows / world), rows / world);
}

Batch Loader::next_rows(int first, int count) {
  const LoaderOptions& options = state_->options;
  if (first < 0 || count < 0 || first > options.rows - count)
    refuse(fmt::format("rows {} to {} do not lie in a batch of {}", first, first + count, options.rows), "rows");
  Batch batch;
  batch.row_tokens = options.row_tokens;
  const auto size = static_cast<std::size_t>(count) * static_cast<std::size_t>(options.row_tokens);
  std::vector<std::uint8_t> scratch;
  const Row* row = state_->take();
  if (row == nullptr) return batch;
  batch.n_rows = count;
  batch.tokens.resize(size);
  batch.targets.resize(size);
  batch.mask.resize(size);
  batch.documents.resize(size, -1);
  batch.positions.resize(size);
  for (int i = 0; i < options.rows && row != nullptr; ++i) {
    batch.n_learnt += state_->count_learnt(*row, scratch);
    if (i >= first && i < first + count) state_->fill(batch, i - first, *row);
    if (i + 1 < options.rows) row = state_->take();
  }
  if (batch.n_learnt == 0)
    refuse(fmt::format("no token of batch {} is to be learnt", state_->n_batches), "loss_mask",
           "conversations longer than a row lose their answers: make rows longer (sequence_tokens of a recipe), or "
           "leave them out");
  ++state_->n_batches;
  return batch;
}

void Loader::skip(std::int64_t batches) {
  for (std::int64_t batch = 0; batch < batches; ++batch) {
    for (int i = 0; i < state_->options.rows; ++i) state_->take();
    ++state_->n_batches;
  }
}

bool Loader::done() {
  if (state_->options.repeat) return false;
  return state_->rows.empty() || (state_->next_row == state_->rows.size() &&
                                  std::ranges::all_of(state_->end, [](const Progress& one) { return one.epoch > 0; }));
}

const LoaderOptions& Loader::options() const noexcept { return state_->options; }
const Dataset& Loader::dataset() const noexcept { return *state_->dataset; }
std::int64_t Loader::n_batches() const noexcept { return state_->n_batches; }

std::vector<double> Loader::epochs() const {
  std::vector<double> epochs;
  for (std::size_t i = 0; i < state_->end.size(); ++i)
    epochs.push_back(static_cast<double>(state_->end[i].epoch) +
                     static_cast<double>(state_->end[i].position) /
                         static_cast<double>(state_->dataset->domains()[i].n_documents));
  return epochs;
}

std::string Loader::save() const {
  Json domains = Json::array();
  for (const Progress& progress : state_->begin)
    domains.push_back({{"epoch", progress.epoch}, {"position", progress.position}, {"pairs", progress.pairs}});
  const Json state = {{"version", 1},
                      {"data", state_->dataset->digest()},
                      {"options", stream_options(state_->options, state_->shares)},
                      {"batches", state_->n_batches},
                      {"window", state_->window},
                      {"row", state_->next_row},
                      {"domains", domains}};
  return state.dump();
}

void Loader::restore(std::string_view text) {
  const std::string where = "state of the loader";
  const nlohmann::json state = parse_json(text, where);
  const auto number = [&](const nlohmann::json& value, const char* key) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > (std::uint64_t{1} << 62))
      throw Error(ErrorKind::invalid_file, fmt::format("expected a whole number as '{}'", key), where);
    return value.get<std::int64_t>();
  };
  const ManifestFields fields(state, where, {"version", "data", "options", "batches", "window", "row", "domains"});
  if (number(fields.value("version"), "version") != 1)
    throw Error(ErrorKind::unsupported, "the state is of another version of moebox", where);
  if (fields.text("data") != state_->dataset->digest())
    refuse("the data are not those that the run was begun with", where, "resume with the same shards");
  const Json now = stream_options(state_->options, state_->shares);
  const nlohmann::json& then = fields.value("options");
  for (const auto& [key, value] : now.items()) {
    const std::string found = then.is_object() && then.contains(key) ? then[key].dump() : "nothing";
    if (found != value.dump())
      refuse(fmt::format("'{}' is {}, the run was begun with {}", key, value.dump(), found), where,
             "resume with the options of the run");
  }
  const auto& domains = fields.list("domains", std::size_t{1} << 20);
  if (domains.size() != state_->begin.size()) fields.refuse("domains", "one entry for each domain");
  std::vector<Progress> begin;
  for (std::size_t i = 0; i < domains.size(); ++i) {
    const ManifestFields one(domains[i], where, {"epoch", "position", "pairs"});
    Progress progress{number(one.value("epoch"), "epoch"), number(one.value("position"), "position"),
                      number(one.value("pairs"), "pairs")};
    if (progress.position >= state_->dataset->domains()[i].n_documents) one.refuse("position", "a document's place");
    begin.push_back(progress);
  }
  const std::int64_t n_batches = number(fields.value("batches"), "batches");
  const std::int64_t window = number(fields.value("window"), "window");
  const std::int64_t row = number(fields.value("row"), "row");

  State restored{.dataset = state_->dataset, .options = state_->options, .shares = state_->shares};
  restored.n_batches = n_batches;
  restored.window = window;
  restored.begin = std::move(begin);
  restored.make_window();
  if (row > static_cast<std::int64_t>(restored.rows.size())) fields.refuse("row", "a row of the window");
  restored.next_row = static_cast<std::size_t>(row);
  *state_ = std::move(restored);
}

}  // namespace moebox::data
