#include "train/attention.h"

#include <limits>

#include "train/cpu_compute.h"
#include "train/cpu_operators.h"

namespace moebox::train {

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& documents, double scale) {
  if (is_for_cpu_operators(q)) return cpu_attention(q, k, v, documents, scale);
  const std::int64_t batch = q.size(0), length = q.size(1), heads = q.size(2), shared_by = heads / k.size(2);
  const auto by_head = [](const Tensor& x) { return x.transpose(1, 2); };  // (batch, heads, length, dim)
  const auto for_all_heads = [&](const Tensor& x) {
    return shared_by == 1 ? by_head(x) : by_head(x).repeat_interleave(shared_by, 1);
  };
  Tensor hidden = at::ones({length, length}, q.options().dtype(at::kBool)).triu(1);
  if (documents.defined()) hidden = hidden.logical_or(documents.unsqueeze(2).ne(documents.unsqueeze(1))).unsqueeze(1);
  const Tensor scores = at::matmul(by_head(q), for_all_heads(k).transpose(2, 3)).to(at::kFloat) * scale;
  const Tensor weights =
      at::softmax(scores.masked_fill(hidden, -std::numeric_limits<float>::infinity()), -1).to(q.scalar_type());
  return by_head(at::matmul(weights, for_all_heads(v))).reshape({batch, length, heads * v.size(3)});
}

}  // namespace moebox::train
