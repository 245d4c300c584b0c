#include "train/rope.h"

#include <cmath>
#include <vector>

#include "base/error.h"
#include "train/cpu_compute.h"
#include "train/cpu_operators.h"

namespace moebox::train {

RopeTable make_rope_table(const RopeSpec& spec, std::int64_t length, const at::Device& device) {
  if (depends_on_position(spec))
    throw Error(ErrorKind::unsupported, "training with dynamic RoPE scaling is not implemented",
                "config.json: rope_type", "train with the RoPE of the trained context, and set the scaling afterwards");
  const RopeFrequencies frequencies = rope_frequencies(spec);
  const auto half = static_cast<std::int64_t>(frequencies.inverse.size());
  RopeTable table{at::empty({length, half}, at::kFloat), at::empty({length, half}, at::kFloat), spec.interleaved};
  float* cosines = table.cos.mutable_data_ptr<float>();
  float* sines = table.sin.mutable_data_ptr<float>();
  const double scale = frequencies.attention_scale;
  for (std::int64_t position = 0; position < length; ++position)
    for (const float inverse : frequencies.inverse) {
      const double angle = static_cast<double>(position) * static_cast<double>(inverse);
      *cosines++ = static_cast<float>(std::cos(angle) * scale);
      *sines++ = static_cast<float>(std::sin(angle) * scale);
    }
  table.cos = table.cos.to(device);
  table.sin = table.sin.to(device);
  return table;
}

Tensor rotate(const Tensor& x, const RopeTable& table) {
  if (is_for_cpu_operators(x)) return cpu_rotate(x, table);
  const std::int64_t half = table.cos.size(1), dim = 2 * half, head_dim = x.size(3);
  const Tensor rotated = x.narrow(3, 0, dim).to(at::kFloat);
  const Tensor a = table.interleaved ? rotated.slice(3, 0, dim, 2) : rotated.narrow(3, 0, half);
  const Tensor b = table.interleaved ? rotated.slice(3, 1, dim, 2) : rotated.narrow(3, half, half);
  const Tensor cos = table.cos.unsqueeze(1), sin = table.sin.unsqueeze(1);  // (length, 1, half)
  const Tensor both = at::cat({a * cos - b * sin, b * cos + a * sin}, 3).to(x.scalar_type());
  return dim == head_dim ? both : at::cat({both, x.narrow(3, dim, head_dim - dim)}, 3);
}

}  // namespace moebox::train
