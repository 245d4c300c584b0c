// Where a run's batches come from. The trainer knows nothing else of data.
#pragma once

#include <cstdint>
#include <string>

#include "train/model.h"

namespace moebox::train {

class BatchSource {
 public:
  virtual ~BatchSource() = default;

  /// The next batch, for ever. Throws Error.
  virtual Batch next() = 0;
  /// Everything that the next batches depend on, as JSON text.
  virtual std::string save() const = 0;
  /// Goes on where save() was called. Throws Error for what is no such text, or of other data or options.
  virtual void restore(const std::string& state) = 0;
  /// Every token is below it.
  virtual std::int64_t vocabulary_size() const = 0;
  /// Tokens of all documents; 0: not known.
  virtual std::int64_t n_tokens() const = 0;
  /// Recognises the content, for the log.
  virtual std::string digest() const = 0;
};

}  // namespace moebox::train
