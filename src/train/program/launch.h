// The processes of a run on this machine: started as torchrun starts them, watched, and ended together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/context.h"
#include "train/world.h"

namespace moebox::train {

/// The option --devices of a verb: "0,1" starts two processes.
struct Devices {
  std::string list;
  bool are_several() const { return list.find(',') != std::string::npos; }
};
void add_devices(CLI::App* verb, const std::shared_ptr<Devices>& devices);

/// Starts this program once for each device, with the same arguments but for --devices, and waits for all. When one
/// fails the others get some seconds to stop by themselves. The exit code of the first one that failed. Throws
/// Error(invalid_argument) for a list that is none, and Error(io).
int launch_ranks(const cli::Context& context, const Devices& devices);

/// The ranks that the environment tells of, or this process alone. Throws Error.
std::shared_ptr<World> join_ranks(int timeout_seconds);

}  // namespace moebox::train
