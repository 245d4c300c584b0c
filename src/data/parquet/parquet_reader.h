// The rows of a column of Parquet files as records. Arrow is linked here and nowhere else.
#pragma once

#include <memory>

#include "data/build/source.h"

namespace moebox::data {

/// Reads the column `source.field`, a few rows at a time; a row without a text is dropped as not_a_text. Throws Error:
/// invalid_file for what is no Parquet or is damaged, invalid_argument for a file without such a column of texts.
std::unique_ptr<RecordReader> read_parquet(const SourceOptions& source, const RecordLimits& limits);

}  // namespace moebox::data
