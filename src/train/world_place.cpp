#include "train/world_place.h"

#include <charconv>
#include <cstdlib>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox::train {
namespace {

constexpr int most_ranks = 1 << 16, highest_port = 65535;

int read_number(const Environment& environment, const char* name, int low, int high, std::optional<int> fallback) {
  const std::optional<std::string> text = environment(name);
  if (!text) {
    if (fallback) return *fallback;
    throw Error(ErrorKind::invalid_argument, "the variable is missing", name,
                "a run of several processes has RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; or use --devices");
  }
  int number = 0;
  const auto [rest, problem] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (problem != std::errc() || rest != text->data() + text->size() || number < low || number > high)
    throw Error(ErrorKind::invalid_argument, fmt::format("expected {} to {}, found '{}'", low, high, *text), name);
  return number;
}

}  // namespace

std::optional<WorldPlace> read_place(const Environment& environment) {
  const bool is_slurm = !environment("RANK") && environment("MASTER_ADDR") && environment("SLURM_PROCID");
  if (!environment("RANK") && !is_slurm) {
    if (environment("WORLD_SIZE").value_or("1") == "1") return std::nullopt;
    throw Error(ErrorKind::invalid_argument, "the variable is missing, and WORLD_SIZE says that there are several",
                "RANK");
  }
  WorldPlace place;
  place.size = read_number(environment, is_slurm ? "SLURM_NTASKS" : "WORLD_SIZE", 1, most_ranks, std::nullopt);
  place.rank = read_number(environment, is_slurm ? "SLURM_PROCID" : "RANK", 0, place.size - 1, std::nullopt);
  if (place.size == 1) return std::nullopt;
  place.local_size = read_number(environment, "LOCAL_WORLD_SIZE", 1, place.size, 1);
  place.address = environment("MASTER_ADDR").value_or("");
  if (place.address.empty())
    throw Error(ErrorKind::invalid_argument, "the variable is missing: where rank 0 runs", "MASTER_ADDR");
  place.port = read_number(environment, "MASTER_PORT", 1, highest_port, place.port);
  place.has_store = environment("TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True";
  place.attempt = environment("TORCHELASTIC_RESTART_COUNT").value_or("0");
  place.interface = environment("GLOO_SOCKET_IFNAME").value_or("");
  return place;
}

std::optional<WorldPlace> read_place() {
  return read_place([](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  });
}

}  // namespace moebox::train
