#include "train/ops/rope.h"

#include <cstring>

#include "train/ops/check.h"

namespace moebox::train_ops {

template <class T>
void rope(Compute& compute, const RopeAngles& angles, const std::int64_t* positions, bool backward, Heads<const T> in,
          Heads<T> out) {
  expect_equal(out.n_tokens, in.n_tokens, "tokens of the output and of the input");
  expect_equal(out.n_heads, in.n_heads, "heads of the output and of the input");
  expect_equal(out.dim, in.dim, "dimension of the output's heads and of the input's");
  const std::int64_t half = angles.half, n_positions = angles.n_positions, end = angles.first + 2 * half;
  if (in.dim < end)
    throw Error(
        ErrorKind::invalid_argument,
        "heads of " + std::to_string(in.dim) + " values cannot be rotated up to the value " + std::to_string(end),
        "rope");
  for (std::int64_t token = 0; token < in.n_tokens && (positions != nullptr || n_positions == 0); ++token) {
    const std::int64_t position = positions != nullptr ? positions[token] : token;
    if (position < 0 || position >= n_positions)
      throw Error(ErrorKind::invalid_argument,
                  "there are angles of " + std::to_string(n_positions) + " positions, token " + std::to_string(token) +
                      " has the position " + std::to_string(position),
                  "rope");
  }
  const RowKernels<T>& kernels = compute.kernels.rows<T>();
  for_each_run(compute.workers, in.n_tokens, 32, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t token = first; token < last; ++token) {
      const std::int64_t at = (positions != nullptr ? positions[token] : token % n_positions) * half;
      for (std::int64_t head = 0; head < in.n_heads; ++head) {
        const T* from = in.at(token, head);
        T* to = out.at(token, head);
        kernels.rope(from + angles.first, angles.cos + at, angles.sin + at, static_cast<int>(half), angles.interleaved,
                     backward, to + angles.first);
        if (from == to) continue;
        std::memcpy(to, from, static_cast<std::size_t>(angles.first) * sizeof(T));
        std::memcpy(to + end, from + end, static_cast<std::size_t>(in.dim - end) * sizeof(T));
      }
    }
  });
}

template void rope(Compute&, const RopeAngles&, const std::int64_t*, bool, Heads<const float>, Heads<float>);
template void rope(Compute&, const RopeAngles&, const std::int64_t*, bool, Heads<const BFloat16>, Heads<BFloat16>);

}  // namespace moebox::train_ops
