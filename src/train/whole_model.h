// What several ranks hold together, as one: its digest, and the model itself.
#pragma once

#include <memory>
#include <string>

#include "train/model.h"
#include "train/ranks.h"

namespace moebox::train {

/// WeightSet::digest() of the whole model. Every rank calls it. Throws Error(internal) where this rank's copy of
/// something is not the others'.
std::string digest_of_ranks(const WeightSet& weights, const Ranks& ranks);

/// The whole model in rank 0, nothing in the others; those that hold experts together with rank 0 all call it.
std::unique_ptr<Model> gather_model(const Model& model, const Ranks& ranks);

}  // namespace moebox::train
