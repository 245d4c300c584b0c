// One checkpoint that all ranks write together: each its own tensors, into one folder that all of them see.
#pragma once

#include <string>

#include "train/checkpoint_store.h"
#include "train/world.h"

namespace moebox::train {

/// Every rank calls it, from any thread; `occasion` is a word that is used once, the same in every rank. The facts are
/// rank 0's, with the optimizer_steps of all. When it returns the checkpoint is there; where one rank fails it is not,
/// and every rank throws what went wrong.
void write_together(const CheckpointStore& store, const Snapshot& snapshot, World& world, const std::string& occasion);

}  // namespace moebox::train
