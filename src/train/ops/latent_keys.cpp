#include "train/ops/latent_keys.h"

#include <cstring>

#include "train/ops/check.h"

namespace moebox::train_ops {
namespace {

constexpr std::int64_t tokens_together = 32;

template <class A, class B, class C>
void check_keys(const Heads<A>& own, const Heads<B>& shared, const Heads<C>& keys) {
  expect_equal(own.n_tokens, keys.n_tokens, "tokens of the heads' own parts and of the keys");
  expect_equal(shared.n_tokens, keys.n_tokens, "tokens of the shared part and of the keys");
  expect_equal(own.n_heads, keys.n_heads, "heads of the own parts and of the keys");
  expect_equal(shared.n_heads, 1, "heads of the shared part");
  expect_equal(own.dim + shared.dim, keys.dim, "dimensions of both parts and of the keys");
}

}  // namespace

template <class T>
void latent_keys_forward(Compute& compute, Heads<const T> own, Heads<const T> shared, Heads<T> keys) {
  check_keys(own, shared, keys);
  for_each_run(compute.workers, keys.n_tokens, tokens_together, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t token = first; token < last; ++token) {
      for (std::int64_t head = 0; head < keys.n_heads; ++head) {
        T* key = keys.at(token, head);
        std::memcpy(key, own.at(token, head), static_cast<std::size_t>(own.dim) * sizeof(T));
        std::memcpy(key + own.dim, shared.at(token, 0), static_cast<std::size_t>(shared.dim) * sizeof(T));
      }
    }
  });
}

template <class T>
void latent_keys_backward(Compute& compute, Heads<const T> d_keys, Heads<T> d_own, Heads<T> d_shared) {
  check_keys(d_own, d_shared, d_keys);
  const RowKernels<T>& kernels = compute.kernels.rows<T>();
  for_each_run(compute.workers, d_keys.n_tokens, tokens_together, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t token = first; token < last; ++token) {
      for (std::int64_t head = 0; head < d_keys.n_heads; ++head)
        std::memcpy(d_own.at(token, head), d_keys.at(token, head), static_cast<std::size_t>(d_own.dim) * sizeof(T));
      kernels.sum_stored(d_keys.at(token, 0) + d_own.dim, d_keys.head_stride, static_cast<int>(d_keys.n_heads),
                         d_shared.dim, d_shared.at(token, 0));
    }
  });
}

#define MOEBOX_LATENT_KEYS(T)                                                            \
  template void latent_keys_forward(Compute&, Heads<const T>, Heads<const T>, Heads<T>); \
  template void latent_keys_backward(Compute&, Heads<const T>, Heads<T>, Heads<T>);
MOEBOX_LATENT_KEYS(float)
MOEBOX_LATENT_KEYS(BFloat16)
#undef MOEBOX_LATENT_KEYS

}  // namespace moebox::train_ops
