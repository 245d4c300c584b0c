// The type that products are computed in: what the recipe says, or what this machine is faster in.
#pragma once

#include <filesystem>

#include "train/recipe.h"
#include "train/world.h"

namespace moebox::train {

/// Whether products shall be in bfloat16. For Products::automatic it is what the run in this folder was begun with,
/// where there is one, and otherwise what a product of a layer's size takes less time in here, by a tenth at least.
/// All ranks get the first one's answer.
bool are_in_bf16(Products products, const std::filesystem::path& run, World& world);

}  // namespace moebox::train
