#include "cli/optimize_findings.h"

#include <fmt/core.h>

#include "cli/console.h"

namespace moebox::cli {
namespace {

// Shares from which on a limit is what bounds a work: no program reaches all of it.
constexpr double bound_by_memory = 0.6, bound_by_products = 0.4, much_waiting = 0.15;

std::string waiting_or(const Observation& seen, const char* otherwise) {
  if (seen.speeds.waiting_share < much_waiting) return otherwise;
  return fmt::format(
      "threads wait for each other, or for a processor, {:.0f} % of the time: other programs, or more threads than the "
      "work feeds",
      100 * seen.speeds.waiting_share);
}

Finding loading(const Observation& seen) {
  const Speeds& speeds = seen.speeds;
  if (seen.packed_file) return {"load", fmt::format("{:.2f} s: packed weights are mapped", speeds.load_seconds)};
  return {"load",
          fmt::format("{:.2f} s for {}, packed at every start{}", speeds.load_seconds, bytes_text(seen.file_bytes),
                      speeds.load_seconds > 1 ? "; 'moebox pack' keeps the packed weights in a file" : "")};
}

Finding prefill(const Observation& seen) {
  const double share = 2 * seen.multiply_adds * seen.speeds.prefill / seen.speeds.limits.int8_operations_per_second;
  return {"prompt", fmt::format("{:.0f} tokens/s, its products at {:.0f} % of the int8 limit: {}", seen.speeds.prefill,
                                100 * share,
                                share >= bound_by_products
                                    ? std::string("arithmetic bounds it; more or faster cores help")
                                    : waiting_or(seen, "attention, conversions and small matrices take the rest"))};
}

Finding decode(const Observation& seen) {
  const double share = seen.speeds.decode * seen.speeds.read_bytes_per_token / seen.speeds.limits.read_bytes_per_second;
  return {"answer",
          fmt::format(
              "{:.1f} tokens/s, weights read at {:.0f} % of the memory's speed: {}", seen.speeds.decode, 100 * share,
              share >= bound_by_memory
                  ? std::string("memory bounds it; a smaller weight type, fewer experts or drafts (--speculation) help")
                  : waiting_or(seen, "barriers and work between matrices bound it: the model is small"))};
}

Finding batch(const Observation& seen) {
  const double gain = seen.speeds.batch / seen.speeds.decode;
  return {"batch", fmt::format("{} answers at once: {:.0f} tokens/s, {:.1f} times one answer's{}", seen.streams,
                               seen.speeds.batch, gain,
                               gain < 2 && seen.model.moe.n_layers > 0 ? ": each reads experts of its own" : "")};
}

}  // namespace

std::vector<Finding> findings(const Observation& seen) {
  std::vector<Finding> found{loading(seen), prefill(seen), decode(seen), batch(seen)};
  const Speeds& speeds = seen.speeds;
  if (speeds.waiting_share >= much_waiting)
    found.push_back({"threads", fmt::format("{:.0f} % of the threads' time is waiting", 100 * speeds.waiting_share)});
  if (speeds.imbalance > 0)
    found.push_back({"experts", fmt::format("the busiest of a layer's {} experts has {:.1f} times the mean share{}",
                                            seen.model.moe.n_experts, speeds.imbalance,
                                            speeds.imbalance > 4 ? ": few experts do most of the work" : "")});
  if (speeds.major_faults > 100 || seen.swapped_bytes > 0)
    found.push_back(
        {"memory", fmt::format("{:.0f} pages were read from the disk while it ran, {} are swapped out: memory is "
                               "too small; a smaller weight type, --expert-cache or --kv-memory help",
                               speeds.major_faults, bytes_text(seen.swapped_bytes))});
  if (seen.int8_drift > 1.15)
    found.push_back(
        {"clock", fmt::format("the processors' speed changed by a factor of {:.2f} between rounds (frequency, or "
                              "neighbours): believe ratios, not figures",
                              seen.int8_drift)});
  if (seen.stolen_share > 0.02)
    found.push_back({"host", fmt::format("{:.0f} % of the processors' time went to other machines of this host",
                                         100 * seen.stolen_share)});
  found.push_back({"context", fmt::format("{} tokens fit ({} each); --kv-type q8_0 takes about half of that",
                                          seen.context_tokens, bytes_text(seen.kv_bytes_token))});
  return found;
}

}  // namespace moebox::cli
