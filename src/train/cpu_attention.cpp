// Attention, with and without what is around it in latent attention.
#include <vector>

#include "train/cpu_compute.h"
#include "train/cpu_operators.h"
#include "train/ops/attention.h"
#include "train/ops/latent_keys.h"
#include "train/ops/rope.h"

namespace moebox::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// (batch * length) int32.
Tensor first_visible(const Tensor& documents, std::int64_t batch, std::int64_t length) {
  const Tensor numbers = documents.defined() ? documents.to(at::kInt).contiguous() : documents;
  const std::vector<std::int32_t> first =
      train_ops::first_visible(documents.defined() ? numbers.const_data_ptr<std::int32_t>() : nullptr, batch, length);
  const Tensor result = at::empty({batch * length}, at::kInt);
  std::copy(first.begin(), first.end(), result.mutable_data_ptr<std::int32_t>());
  return result;
}

template <class T>
train_ops::Attention<T> operands(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& first, double scale) {
  return {heads_of<const T>(q), heads_of<const T>(k), heads_of<const T>(v), first.const_data_ptr<std::int32_t>(),
          static_cast<float>(scale)};
}

/// q, k, v (n_tokens, heads, dim): the output, and what the backward needs of it.
std::pair<Tensor, Tensor> attend(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& first, double scale) {
  const Tensor out = at::empty({q.size(0), q.size(1), v.size(2)}, q.options());
  const Tensor log_sum_exp = at::empty({q.size(1), q.size(0)}, q.options().dtype(at::kFloat));
  for_type_of(q, [&]<class T>(T) {
    train_ops::attention_forward<T>(cpu_compute(), operands<T>(q, k, v, first, scale), heads_of<T>(out),
                                    elements<float>(log_sum_exp));
  });
  return {out, log_sum_exp};
}

struct AttentionOf : torch::autograd::Function<AttentionOf> {
  /// q, k, v (n_tokens, heads, dim).
  static Tensor forward(AutogradContext* context, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& first, double scale) {
    const auto [out, log_sum_exp] = attend(q, k, v, first, scale);
    context->save_for_backward({q, k, v, first, out, log_sum_exp});
    context->saved_data["scale"] = scale;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list s = context->get_saved_variables();
    const double scale = context->saved_data["scale"].toDouble();
    const Tensor d_out = gradients[0].contiguous();
    const auto like = [](const Tensor& x) { return at::empty(x.sizes(), x.options()); };
    const Tensor dq = like(s[0]), dk = like(s[1]), dv = like(s[2]);
    for_type_of(d_out, [&]<class T>(T) {
      train_ops::attention_backward<T>(cpu_compute(), operands<T>(s[0], s[1], s[2], s[3], scale),
                                       heads_of<const T>(s[4]), elements<float>(s[5]), heads_of<const T>(d_out),
                                       {heads_of<T>(dq), heads_of<T>(dk), heads_of<T>(dv)});
    });
    return {dq, dk, dv, {}, {}};
  }
};

struct LatentAttentionOf : torch::autograd::Function<LatentAttentionOf> {
  static Tensor forward(AutogradContext* context, const Tensor& any_q, const Tensor& any_kv, const Tensor& k_rope,
                        const Tensor& first, const Tensor& cos, const Tensor& sin, bool interleaved,
                        const LatentAttention& shape) {
    const std::int64_t n = any_q.size(0), heads = shape.n_heads, rope_dim = k_rope.size(1), nope = shape.nope_dim;
    const Tensor q = any_q.contiguous().view({n, heads, nope + rope_dim});
    const Tensor kv = any_kv.contiguous().view({n, heads, nope + shape.value_dim}), v = values_of(kv, nope);
    const Tensor queries = at::empty_like(q), keys = at::empty_like(q),
                 shared = at::empty({n, 1, rope_dim}, q.options());
    for_type_of(q, [&]<class T>(T) {
      const Angles angles{cos, sin, shape.length, interleaved};
      train_ops::rope<T>(cpu_compute(), angles.from(nope), nullptr, false, heads_of<const T>(q), heads_of<T>(queries));
      train_ops::rope<T>(cpu_compute(), angles.from(0), nullptr, false, heads_of<const T>(k_rope.unsqueeze(1)),
                         heads_of<T>(shared));
      train_ops::latent_keys_forward<T>(cpu_compute(), heads_of<const T>(kv.narrow(2, 0, nope)),
                                        heads_of<const T>(shared), heads_of<T>(keys));
    });
    const auto [out, log_sum_exp] = attend(queries, keys, v, first, shape.scale);
    context->save_for_backward({queries, keys, kv, first, out, log_sum_exp, cos, sin});
    context->saved_data["interleaved"] = interleaved;
    context->saved_data["nope"] = nope;
    context->saved_data["length"] = shape.length;
    context->saved_data["scale"] = shape.scale;
    return out.view({n, heads * shape.value_dim});
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list s = context->get_saved_variables();
    const Tensor &queries = s[0], &keys = s[1], &kv = s[2], &out = s[4];
    auto& data = context->saved_data;
    const std::int64_t n = queries.size(0), nope = data["nope"].toInt(), rope_dim = queries.size(2) - nope;
    const Tensor d_out = gradients[0].contiguous().view(out.sizes());
    const Tensor dq = at::empty_like(queries), dk = at::empty_like(keys), d_kv = at::empty_like(kv);
    const Tensor d_rope = at::empty({n, 1, rope_dim}, queries.options());
    for_type_of(d_out, [&]<class T>(T) {
      train_ops::attention_backward<T>(cpu_compute(),
                                       operands<T>(queries, keys, values_of(kv, nope), s[3], data["scale"].toDouble()),
                                       heads_of<const T>(out), elements<float>(s[5]), heads_of<const T>(d_out),
                                       {heads_of<T>(dq), heads_of<T>(dk), heads_of<T>(values_of(d_kv, nope))});
      train_ops::latent_keys_backward<T>(cpu_compute(), heads_of<const T>(dk), heads_of<T>(d_kv.narrow(2, 0, nope)),
                                         heads_of<T>(d_rope));
      const Angles angles{s[6], s[7], data["length"].toInt(), data["interleaved"].toBool()};
      train_ops::rope<T>(cpu_compute(), angles.from(nope), nullptr, true, heads_of<const T>(dq), heads_of<T>(dq));
      train_ops::rope<T>(cpu_compute(), angles.from(0), nullptr, true, heads_of<const T>(d_rope), heads_of<T>(d_rope));
    });
    return {dq.view({n, -1}), d_kv.view({n, -1}), d_rope.view({n, rope_dim}), {}, {}, {}, {}, {}};
  }

  static Tensor values_of(const Tensor& kv, std::int64_t nope) { return kv.narrow(2, nope, kv.size(2) - nope); }

  struct Angles {
    const Tensor &cos, &sin;
    std::int64_t length;
    bool interleaved;
    train_ops::RopeAngles from(std::int64_t first) const {
      return {elements<float>(cos), elements<float>(sin), length, cos.size(1), interleaved, first};
    }
  };
};

}  // namespace

Tensor cpu_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& documents, double scale) {
  const auto list = [](const Tensor& x) {
    const Tensor tokens = x.reshape({x.size(0) * x.size(1), x.size(2), x.size(3)});
    return tokens.stride(2) == 1 ? tokens : tokens.contiguous();
  };
  const Tensor first = first_visible(documents, q.size(0), q.size(1));
  return AttentionOf::apply(list(q), list(k), list(v), first, scale).reshape({q.size(0), q.size(1), -1});
}

Tensor cpu_latent_attention(const Tensor& q, const Tensor& kv, const Tensor& k_rope, const Tensor& documents,
                            const RopeTable& table, const LatentAttention& shape) {
  const Tensor first = first_visible(documents, shape.n_sequences, shape.length);
  return LatentAttentionOf::apply(q, kv, k_rope, first, table.cos, table.sin, table.interleaved, shape);
}

}  // namespace moebox::train
