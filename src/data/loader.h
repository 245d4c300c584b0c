// What a trainer reads: batches of packed rows, in an order that a seed decides, from a data set's domains mixed by
// weight.
//
// The stream of rows is a function of the data and the options alone. A window of rows is drawn at a time: documents of
// the domains, each domain in an order of its own that changes every epoch, always from the domain that is farthest
// behind its share; then packed (packing.h), then shuffled. So the cursor is small: per domain where the window
// began, and how many of its rows are gone. Ranks share one stream: rank r of w takes the r-th w-th of every batch, and
// the same batches come for every w that divides the rows.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/packing.h"

namespace moebox::data {

struct LoaderOptions {
  int rows = 0;        // of a batch, all ranks together
  int row_tokens = 0;  // T
  std::uint64_t seed = 0;
  bool repeat = true;         // false: every document once, domain after domain; then done()
  bool shuffle = true;        // false: in the order of the shards
  int window_rows = 1024;     // about so many rows are packed together
  double max_padding = 0.05;  // packing.h
  /// Shares of the mix by a domain's name, instead of the manifest's; every domain, or none. A domain of weight 0 is
  /// left out.
  std::map<std::string, double> weights = {};
  /// Shares of the levels general, domain, synthetic, within which the domains keep their proportions; all 0: no such
  /// shares.
  std::array<double, 3> level_shares = {};
};

/// Rows of one rank. Every array is (n_rows, row_tokens), a row after the other.
struct Batch {
  int n_rows = 0, row_tokens = 0;
  std::vector<std::int32_t> tokens;   // what goes in; 0 where there is padding
  std::vector<std::int32_t> targets;  // what follows it in its document; 0 where there is padding
  std::vector<std::uint8_t> mask;     // 1 where the target is to be learnt
  std::vector<std::int32_t>
      documents;  // number of the piece within its row, from 0: attention stays within it; -1: padding
  std::vector<std::int32_t> positions;  // within the piece, from 0; 0 where there is padding
  /// Targets with mask 1 in the whole batch, all ranks together: what a mean loss divides by.
  std::int64_t n_learnt = 0;
  /// What the rows are made of, for provenance: `document` is a number of the data set.
  struct Source {
    int row;
    Piece piece;
  };
  std::vector<Source> sources;

  bool empty() const noexcept { return n_rows == 0; }
};

class Loader {
 public:
  /// Throws Error(invalid_argument) for options that do not fit the data, by name.
  Loader(std::shared_ptr<const Dataset> dataset, LoaderOptions options);
  ~Loader();
  Loader(Loader&&) noexcept;
  Loader& operator=(Loader&&) noexcept;

  /// The next batch's rows of this rank. `world` must divide options().rows. At the end (repeat = false) rows are
  /// padding, and an empty batch says that there is nothing left. Throws Error(invalid_argument) for a batch in which
  /// no token is to be learnt.
  Batch next(int rank = 0, int world = 1);
  /// The same for any share: rows [first, first + count) of the batch. All ranks take a part of the same batch, and
  /// each calls it once.
  Batch next_rows(int first, int count);
  /// Leaves out the next batches.
  void skip(std::int64_t batches);
  /// Whether every document was given (repeat = false).
  bool done();

  const LoaderOptions& options() const noexcept;
  const Dataset& dataset() const noexcept;
  /// Batches given or skipped since the beginning.
  std::int64_t n_batches() const noexcept;
  /// How often the documents of each domain were begun, as a fraction, up to the end of the present window.
  std::vector<double> epochs() const;

  /// Everything that the next batches depend on, as JSON text of a few hundred bytes. It is the same on every rank.
  std::string save() const;
  /// Goes on where save() was called. Throws Error(invalid_file) for a text that is none, Error(invalid_argument) when
  /// the data or an option that decides the stream are others than then, by name.
  void restore(std::string_view state);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moebox::data
