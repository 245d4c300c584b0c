// Does a run's log say what happened? Its chain, its checkpoints' checksums, and steps done again from a checkpoint.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "train/batch_source.h"
#include "train/recipe.h"
#include "train/world.h"

namespace moebox::train {

struct VerifyOptions {
  std::optional<std::int64_t> step;  // which one is done again; neither: the last one
  bool all = false;                  // every one, from the beginning
  std::filesystem::path recipe;      // where the run's recipe lies now; empty: where it lay then
};

using OpenBatches = std::function<std::unique_ptr<BatchSource>(const Recipe&)>;

/// `tell` gets a line for everything that was checked. A run of several ranks takes as many: each calls this. Throws
/// Error(invalid_file) with the place where something is not as it should be, and other Errors for what cannot be
/// checked.
void verify_run(const std::filesystem::path& folder, const VerifyOptions& options, const OpenBatches& open,
                const std::shared_ptr<World>& world, const std::function<void(const std::string&)>& tell);

}  // namespace moebox::train
