// Which rank of how many this process is, as torchrun, Slurm and Kubernetes' PyTorchJob say it: in the environment.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace moebox::train {

struct WorldPlace {
  int rank = 0, size = 1;
  int local_size = 1;   // ranks on this machine, as far as it is known
  std::string address;  // of the machine where rank 0 runs, or of torchrun's store
  int port = 29500;
  bool has_store = false;  // torchrun runs the store itself
  std::string attempt;     // which of torchrun's restarts this is
  std::string interface;   // network interface between the machines; empty: the one of this machine's name
};

using Environment = std::function<std::optional<std::string>(const char* name)>;

/// RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; of Slurm SLURM_PROCID and SLURM_NTASKS, where MASTER_ADDR is given.
/// Nothing: this process is alone. Throws Error(invalid_argument) that names the variable.
std::optional<WorldPlace> read_place(const Environment& environment);
/// Of this process.
std::optional<WorldPlace> read_place();

}  // namespace moebox::train
