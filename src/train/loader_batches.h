// Batches from the loader of src/data.
#pragma once

#include <filesystem>
#include <memory>

#include "train/batch_source.h"
#include "train/recipe.h"

namespace moebox::train {

/// Opens the recipe's data; every shard is checked against its checksum. Where the recipe names a tokenizer, the data
/// must be of it. Throws Error that names what does not fit.
std::unique_ptr<BatchSource> open_batches(const Recipe& recipe);

}  // namespace moebox::train
