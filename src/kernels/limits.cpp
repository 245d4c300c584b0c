#include "kernels/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

namespace moebox {
namespace {

constexpr std::size_t buffer_bytes = std::size_t{256} << 20;
constexpr std::size_t read_bytes = std::size_t{128}
                                   << 20;  // a burst: half of the buffer, so that the next one finds it cold

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Runs turns on every member, enough for about 4 ms, and returns operations per second.
double rate(ThreadTeam& team, std::int64_t (*probe)(int) noexcept) {
  int turns = 1000;
  for (;;) {
    std::atomic<std::int64_t> operations{0};
    const double start = seconds_now();
    team.run([&](const TeamMember&) { operations += probe(turns); });
    const double taken = seconds_now() - start;
    if (taken > 0.002 || turns > 500'000'000) return static_cast<double>(operations) / std::max(taken, 1e-9);
    turns *= taken < 0.0005 ? 8 : 2;
  }
}

}  // namespace

LimitMeter::LimitMeter(const KernelTable& kernels)
    : kernels_(kernels), buffer_(buffer_bytes, "the buffer that measures memory", true) {
  std::memset(buffer_.data(), 1, buffer_bytes);
}

MachineLimits LimitMeter::measure(ThreadTeam& team) const {
  MachineLimits limits;
  for (std::size_t half = 0; half < 2; ++half) {
    const double start = seconds_now();
    team.run([&](const TeamMember& member) {
      const std::size_t part = read_bytes / static_cast<std::size_t>(member.size) / 4096 * 4096;
      std::atomic<std::int32_t> sink{0};
      sink +=
          kernels_.probe_read(buffer_.data() + half * read_bytes + part * static_cast<std::size_t>(member.index), part);
    });
    const double taken = seconds_now() - start;
    limits.read_bytes_per_second = std::max(limits.read_bytes_per_second, static_cast<double>(read_bytes) / taken);
  }
  limits.int8_operations_per_second = rate(team, kernels_.probe_int8);
  limits.float_operations_per_second = rate(team, kernels_.probe_float);
  return limits;
}

MachineLimits best_of(const MachineLimits& a, const MachineLimits& b) noexcept {
  return {std::max(a.read_bytes_per_second, b.read_bytes_per_second),
          std::max(a.int8_operations_per_second, b.int8_operations_per_second),
          std::max(a.float_operations_per_second, b.float_operations_per_second)};
}

}  // namespace moebox
