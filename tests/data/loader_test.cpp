// Packing and batches: every token once an epoch, borders kept, shares kept, and the same stream after a restart and on
// any number of ranks.
#include "data/loader.h"

#include <map>
#include <numeric>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "data/data_testing.h"
#include "data/random.h"

namespace moebox {
namespace {

using data::Batch;
using data::Dataset;
using data::Loader;
using data::LoaderOptions;
using data::Piece;
using data::Row;
using test::expect_error;

std::vector<int> random_lengths(std::size_t count, int most, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int> lengths(count);
  for (int& length : lengths) length = 1 + static_cast<int>(random() % static_cast<unsigned>(most));
  return lengths;
}

TEST(Permutation, IsOne) {
  for (const std::uint64_t n : {1, 2, 3, 4, 5, 16, 17, 1000, 4096, 5000}) {
    std::set<std::uint64_t> seen;
    const data::Permutation permutation(n, 7);
    for (std::uint64_t i = 0; i < n; ++i) seen.insert(permutation(i));
    EXPECT_EQ(seen.size(), n);
    EXPECT_EQ(*seen.rbegin(), n - 1);
  }
}

TEST(Permutation, MixesAndDependsOnTheKey) {
  constexpr std::uint64_t n = 10000;
  const data::Permutation a(n, 1), b(n, 2);
  double distance = 0;
  int fixed = 0, equal = 0;
  for (std::uint64_t i = 0; i < n; ++i) {
    distance += std::abs(static_cast<double>(a(i)) - static_cast<double>(i)) / n;
    fixed += a(i) == i;
    equal += a(i) == b(i);
  }
  EXPECT_NEAR(distance / n, 1.0 / 3, 0.02);  // of two random numbers from 0 to 1
  EXPECT_LT(fixed, 10);
  EXPECT_LT(equal, 10);
}

TEST(Packing, KeepsEveryPairAndRespectsTheRow) {
  for (const double max_padding : {1.0, 0.05, 0.0}) {
    std::vector<Piece> pieces;
    std::int64_t pairs = 0, document = 0;
    for (const int length : random_lengths(3000, 128, 3)) {
      pieces.push_back({document++, 0, length});
      pairs += length;
    }
    const auto rows = data::pack_rows(pieces, {.row_tokens = 128, .max_padding = max_padding});
    std::map<std::int64_t, std::vector<Piece>> found;
    for (const Row& row : rows) {
      int used = 0;
      for (const Piece& piece : row) {
        EXPECT_GT(piece.length, 0);
        used += piece.length;
        found[piece.document].push_back(piece);
      }
      EXPECT_LE(used, 128);
    }
    ASSERT_EQ(found.size(), pieces.size());
    for (auto& [number, parts] : found) {
      std::ranges::sort(parts, {}, &Piece::offset);
      std::int64_t end = 0;
      for (const Piece& part : parts) {
        EXPECT_EQ(part.offset, end);
        end += part.length;
      }
      EXPECT_EQ(end, pieces[static_cast<std::size_t>(number)].length);
      if (max_padding == 1.0) {
        EXPECT_EQ(parts.size(), 1u);  // never cut
      }
    }
    const double padding = 1 - static_cast<double>(pairs) / (128.0 * static_cast<double>(rows.size()));
    EXPECT_LT(padding, 0.02);
  }
}

TEST(Packing, CutsWhereNothingElseFills) {
  // Two documents of 180 never share a row of 256: without cuts 30 % is padding.
  std::vector<Piece> pieces;
  for (int i = 0; i < 1000; ++i) pieces.push_back({i, 0, 180});
  EXPECT_EQ(data::pack_rows(pieces, {.row_tokens = 256, .max_padding = 1}).size(), 1000u);
  const auto rows = data::pack_rows(pieces, {.row_tokens = 256, .max_padding = 0.05});
  EXPECT_LE(rows.size(), 741u);  // 1000 * 180 / 256 / 0.95 = 740.1
  int n_pieces = 0, pairs = 0;
  for (const Row& row : rows)
    for (const Piece& piece : row) {
      ++n_pieces;
      pairs += piece.length;
      EXPECT_GE(piece.length, 16);
    }
  EXPECT_EQ(pairs, 180000);
  EXPECT_LT(n_pieces, 2000);
}

TEST(Packing, ChoosesTheTightestRow) {
  const auto rows = data::pack_rows({{0, 0, 6}, {1, 0, 7}, {2, 0, 3}, {3, 0, 4}}, {.row_tokens = 10, .max_padding = 1});
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0], (Row{{1, 0, 7}, {2, 0, 3}}));
  EXPECT_EQ(rows[1], (Row{{0, 0, 6}, {3, 0, 4}}));
}

class LoaderTest : public testing::Test {
 protected:
  std::shared_ptr<const Dataset> dataset(const std::vector<test::TestDomain>& domains) {
    test::write_dataset(folder_.path(), domains);
    return std::make_shared<const Dataset>(Dataset::open(folder_.path()));
  }
  std::shared_ptr<const Dataset> two_domains() {
    return dataset({{"a", test::documents_of(random_lengths(400, 90, 1))},
                    {"b", test::documents_of(random_lengths(150, 300, 2)), {}, data::Level::synthetic}});
  }
  static LoaderOptions options() {
    LoaderOptions options;
    options.rows = 12;
    options.row_tokens = 64;
    options.seed = 5;
    options.window_rows = 40;
    return options;
  }

  test::TemporaryFolder folder_;
};

bool same(const Batch& a, const Batch& b) {
  return a.tokens == b.tokens && a.targets == b.targets && a.mask == b.mask && a.documents == b.documents &&
         a.positions == b.positions && a.n_learnt == b.n_learnt;
}

TEST_F(LoaderTest, RowsAreMadeOfTheDocumentsAsTheSourcesSay) {
  const auto data = two_domains();
  Loader loader(data, options());
  for (int i = 0; i < 30; ++i) {
    const Batch batch = loader.next();
    ASSERT_EQ(batch.n_rows, 12);
    std::vector<std::size_t> next(12);
    std::vector<int> number(12);
    std::int64_t learnt = 0;
    for (const Batch::Source& source : batch.sources) {
      const auto row = static_cast<std::size_t>(source.row);
      const auto [shard, range] = data->document(source.piece.document);
      std::vector<TokenId> ids(static_cast<std::size_t>(source.piece.length) + 1);
      shard->copy_tokens(range.begin + source.piece.offset, ids);
      for (std::size_t k = 0; k + 1 < ids.size(); ++k) {
        const std::size_t at = row * 64 + next[row]++;
        EXPECT_EQ(batch.tokens[at], ids[k]);
        EXPECT_EQ(batch.targets[at], ids[k + 1]);
        EXPECT_EQ(batch.mask[at], 1);
        EXPECT_EQ(batch.documents[at], number[row]);
        EXPECT_EQ(batch.positions[at], static_cast<int>(k));
        ++learnt;
      }
      ++number[row];
    }
    for (std::size_t row = 0; row < 12; ++row)
      for (std::size_t k = next[row]; k < 64; ++k) {
        EXPECT_EQ(batch.documents[row * 64 + k], -1);
        EXPECT_EQ(batch.mask[row * 64 + k], 0);
        EXPECT_EQ(batch.tokens[row * 64 + k], 0);
      }
    EXPECT_EQ(learnt, batch.n_learnt);
  }
}

TEST_F(LoaderTest, OnePassGivesEveryPairOnce) {
  const auto data = two_domains();
  for (const bool shuffle : {false, true}) {
    LoaderOptions once = options();
    once.repeat = false;
    once.shuffle = shuffle;
    Loader loader(data, once);
    std::map<std::pair<std::int64_t, std::int64_t>, int> seen;
    std::int64_t learnt = 0;
    while (!loader.done()) {
      const Batch batch = loader.next();
      ASSERT_FALSE(batch.empty());
      learnt += batch.n_learnt;
      for (const Batch::Source& source : batch.sources)
        for (int k = 0; k < source.piece.length; ++k) ++seen[{source.piece.document, source.piece.offset + k}];
    }
    EXPECT_TRUE(loader.next().empty());
    EXPECT_EQ(learnt, data->n_tokens() - data->n_documents());
    EXPECT_EQ(static_cast<std::int64_t>(seen.size()), learnt);
    for (const auto& [pair, times] : seen) EXPECT_EQ(times, 1);
  }
}

TEST_F(LoaderTest, EveryNumberOfRanksGivesTheSameBatches) {
  const auto data = two_domains();
  Loader whole(data, options());
  std::vector<Batch> batches;
  for (int i = 0; i < 20; ++i) batches.push_back(whole.next());
  for (const int world : {2, 3, 4, 6, 12}) {
    std::vector<Loader> ranks;
    for (int rank = 0; rank < world; ++rank) ranks.emplace_back(data, options());
    for (const Batch& batch : batches) {
      Batch joined;
      for (int rank = 0; rank < world; ++rank) {
        const Batch part = ranks[static_cast<std::size_t>(rank)].next(rank, world);
        EXPECT_EQ(part.n_rows, 12 / world);
        EXPECT_EQ(part.n_learnt, batch.n_learnt);
        joined.tokens.insert(joined.tokens.end(), part.tokens.begin(), part.tokens.end());
        joined.documents.insert(joined.documents.end(), part.documents.begin(), part.documents.end());
      }
      EXPECT_EQ(joined.tokens, batch.tokens);
      EXPECT_EQ(joined.documents, batch.documents);
    }
    EXPECT_EQ(ranks.front().save(), whole.save());
  }
  Loader uneven(data, options());
  const Batch part = uneven.next_rows(7, 2);
  EXPECT_TRUE(std::equal(part.tokens.begin(), part.tokens.end(), batches[0].tokens.begin() + 7 * 64));
  EXPECT_TRUE(uneven.next_rows(12, 0).tokens.empty());
}

TEST_F(LoaderTest, GoesOnExactlyWhereItWasSaved) {
  const auto data = two_domains();
  Loader uninterrupted(data, options());
  std::vector<std::string> states;
  std::vector<Batch> batches;
  for (int i = 0; i < 60; ++i) {
    states.push_back(uninterrupted.save());
    EXPECT_LT(states.back().size(), 600u);
    batches.push_back(uninterrupted.next());
  }
  for (const std::size_t at : {0u, 1u, 3u, 4u, 17u, 30u, 58u}) {
    Loader resumed(data, options());
    resumed.next();
    resumed.restore(states[at]);
    EXPECT_EQ(resumed.save(), states[at]);
    for (std::size_t i = at; i < batches.size(); ++i) ASSERT_TRUE(same(resumed.next(), batches[i])) << at << " " << i;
  }
  Loader skipped(data, options());
  skipped.skip(17);
  EXPECT_EQ(skipped.save(), states[17]);
  EXPECT_EQ(skipped.n_batches(), 17);
}

TEST_F(LoaderTest, TheSeedDecidesTheOrder) {
  const auto data = two_domains();
  LoaderOptions other = options();
  other.seed = 6;
  Loader a(data, options()), b(data, options()), c(data, other);
  const Batch first = a.next();
  EXPECT_TRUE(same(first, b.next()));
  EXPECT_FALSE(same(first, c.next()));
}

TEST_F(LoaderTest, EpochsHaveOrdersOfTheirOwn) {
  const auto data = dataset({{"a", test::documents_of(std::vector<int>(100, 64 + 1))}});
  LoaderOptions one_row = options();
  one_row.rows = 100;
  one_row.window_rows = 100;
  Loader loader(data, one_row);
  const Batch first = loader.next();
  EXPECT_NEAR(loader.epochs()[0], 1.0, 1e-9);
  const Batch second = loader.next();
  EXPECT_NE(first.tokens, second.tokens);
  std::multiset<std::int64_t> documents_first, documents_second;
  for (const auto& source : first.sources) documents_first.insert(source.piece.document);
  for (const auto& source : second.sources) documents_second.insert(source.piece.document);
  EXPECT_EQ(documents_first, documents_second);
}

std::vector<double> measured_shares(Loader& loader, int batches) {
  std::vector<double> pairs(loader.dataset().domains().size());
  for (int i = 0; i < batches; ++i)
    for (const auto& source : loader.next().sources)
      for (std::size_t d = pairs.size(); d-- > 0;)
        if (source.piece.document >= loader.dataset().domains()[d].first_document) {
          pairs[d] += source.piece.length;
          break;
        }
  const double sum = std::accumulate(pairs.begin(), pairs.end(), 0.0);
  for (double& one : pairs) one /= sum;
  return pairs;
}

TEST_F(LoaderTest, DomainsComeByTheirWeight) {
  const auto data = two_domains();
  {
    LoaderOptions weighted = options();
    weighted.weights = {{"a", 3}, {"b", 1}};
    Loader loader(data, weighted);
    const auto shares = measured_shares(loader, 100);
    EXPECT_NEAR(shares[0], 0.75, 0.01);
    EXPECT_GT(loader.epochs()[0], 2);
  }
  {
    Loader loader(data, options());  // by size
    const auto shares = measured_shares(loader, 100);
    const auto& domains = data->domains();
    EXPECT_NEAR(shares[0], static_cast<double>(domains[0].n_tokens) / static_cast<double>(data->n_tokens()), 0.01);
  }
  {
    LoaderOptions levels = options();
    levels.level_shares = {0.2, 0, 0.8};
    Loader loader(data, levels);
    EXPECT_NEAR(measured_shares(loader, 100)[1], 0.8, 0.01);
  }
  {
    LoaderOptions alone = options();
    alone.weights = {{"a", 0}, {"b", 1}};
    Loader loader(data, alone);
    EXPECT_EQ(measured_shares(loader, 20)[0], 0);
  }
}

TEST_F(LoaderTest, MasksFollowTheirTargets) {
  const auto data = dataset({{"chat", {{{1, 2, 3, 4, 5}, {0, 0, 1, 1, 0}}, {{6, 7, 8}, {0, 1, 1}}}}});
  LoaderOptions once = options();
  once.rows = 1;
  once.row_tokens = 8;
  once.repeat = once.shuffle = false;
  Loader loader(data, once);
  const Batch batch = loader.next();
  EXPECT_EQ(batch.tokens, (std::vector<std::int32_t>{1, 2, 3, 4, 6, 7, 0, 0}));
  EXPECT_EQ(batch.targets, (std::vector<std::int32_t>{2, 3, 4, 5, 7, 8, 0, 0}));
  EXPECT_EQ(batch.mask, (std::vector<std::uint8_t>{0, 1, 1, 0, 1, 1, 0, 0}));
  EXPECT_EQ(batch.documents, (std::vector<std::int32_t>{0, 0, 0, 0, 1, 1, -1, -1}));
  EXPECT_EQ(batch.n_learnt, 4);
}

TEST_F(LoaderTest, ABatchWithNothingToLearnIsAnError) {
  std::vector<test::TestDocument> documents = {{std::vector<TokenId>(9, 1), {0, 0, 0, 0, 0, 0, 0, 0, 1}}};
  const auto data = dataset({{"chat", documents}});
  LoaderOptions once = options();
  once.rows = 1;
  once.row_tokens = 4;  // the first four pairs have none
  once.repeat = once.shuffle = false;
  Loader loader(data, once);
  expect_error(ErrorKind::invalid_argument, {"loss_mask", "no token of batch 0"}, [&] { loader.next(); });
  EXPECT_EQ(loader.next().n_learnt, 1);
}

TEST_F(LoaderTest, OptionsThatDoNotFit) {
  const auto data = two_domains();
  const auto expect_refused = [&](auto change, std::initializer_list<std::string_view> parts) {
    LoaderOptions wrong = options();
    change(wrong);
    expect_error(ErrorKind::invalid_argument, parts, [&] { Loader(data, wrong); });
  };
  expect_refused([](auto& o) { o.rows = 0; }, {"rows"});
  expect_refused([](auto& o) { o.row_tokens = 1; }, {"row_tokens"});
  expect_refused([](auto& o) { o.max_padding = std::nan(""); }, {"max_padding"});
  expect_refused([](auto& o) { o.weights = {{"c", 1}}; }, {"no domain 'c'"});
  expect_refused([](auto& o) { o.weights = {{"a", 1}}; }, {"'b' has none"});
  expect_refused([](auto& o) { o.weights = {{"a", -1}, {"b", 1}}; }, {"weights: a"});
  expect_refused([](auto& o) { o.weights = {{"a", 0}, {"b", 0}}; }, {"above 0"});
  expect_refused([](auto& o) { o.level_shares = {0.5, 0.5, 0}; }, {"level domain"});
  Loader loader(data, options());
  expect_error(ErrorKind::invalid_argument, {"12 rows", "5 ranks"}, [&] { loader.next(0, 5); });
  expect_error(ErrorKind::invalid_argument, {"rows"}, [&] { loader.next(3, 3); });
  expect_error(ErrorKind::invalid_argument, {"rows"}, [&] { loader.next_rows(6, 7); });
  const test::TemporaryFolder elsewhere;
  test::write_dataset(elsewhere.path(), {{"a", test::documents_of({1, 1, 1})}});
  const auto short_ones = std::make_shared<const Dataset>(Dataset::open(elsewhere.path()));
  expect_error(ErrorKind::invalid_argument, {"token to learn"}, [&] { Loader(short_ones, options()); });
}

TEST_F(LoaderTest, AStateOfOtherDataOrOptionsIsRefused) {
  const auto data = two_domains();
  Loader loader(data, options());
  loader.next();
  const std::string state = loader.save();
  LoaderOptions other = options();
  other.row_tokens = 128;
  Loader wider(data, other);
  expect_error(ErrorKind::invalid_argument, {"'row_tokens' is 128", "with 64"}, [&] { wider.restore(state); });
  const test::TemporaryFolder elsewhere;
  test::write_dataset(elsewhere.path(), {{"a", test::documents_of({5, 6})}});
  Loader stranger(std::make_shared<const Dataset>(Dataset::open(elsewhere.path())), options());
  expect_error(ErrorKind::invalid_argument, {"not those"}, [&] { stranger.restore(state); });
  const std::string before = loader.save();
  const auto replaced = [&](std::string_view from, std::string_view to) {
    std::string text = state;
    return text.replace(text.find(from), from.size(), to);
  };
  for (const std::string& text :
       {std::string(), std::string("{}"), std::string("[]"), replaced("\"row\":12", "\"row\":-1"),
        replaced("\"row\":12", "\"row\":4000000"), replaced("\"row\":12", "\"row\":1e300"),
        replaced("\"position\":0", "\"position\":400"), replaced("\"position\":0", "\"position\":\"0\"")})
    expect_error(ErrorKind::invalid_file, {"state of the loader"}, [&] { loader.restore(text); });
  EXPECT_EQ(loader.save(), before);
}

}  // namespace
}  // namespace moebox
