// Ranks that exchange tensors over TCP, by c10d's Gloo.
#pragma once

#include <chrono>
#include <memory>

#include "train/world.h"
#include "train/world_place.h"

namespace moebox::train {

/// Waits until all ranks are there. A rank that does not answer for so long counts as gone. Throws Error(network).
std::shared_ptr<World> join_world(const WorldPlace& place, std::chrono::seconds timeout);

}  // namespace moebox::train
