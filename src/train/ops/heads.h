// The heads of tokens in memory: where head h of token t begins.
#pragma once

#include <cstdint>
#include <type_traits>

namespace moebox::train_ops {

/// (n_tokens, n_heads, dim): data + t * token_stride + h * head_stride, in elements. It owns nothing.
template <class T>
struct Heads {
  T* data = nullptr;
  std::int64_t n_tokens = 0, n_heads = 0, dim = 0, token_stride = 0, head_stride = 0;

  Heads() = default;
  /// Without gaps.
  Heads(T* data, std::int64_t n_tokens, std::int64_t n_heads, std::int64_t dim)
      : Heads(data, n_tokens, n_heads, dim, n_heads * dim, dim) {}
  Heads(T* data, std::int64_t n_tokens, std::int64_t n_heads, std::int64_t dim, std::int64_t token_stride,
        std::int64_t head_stride)
      : data(data),
        n_tokens(n_tokens),
        n_heads(n_heads),
        dim(dim),
        token_stride(token_stride),
        head_stride(head_stride) {}

  T* at(std::int64_t token, std::int64_t head) const { return data + token * token_stride + head * head_stride; }
  operator Heads<const T>() const
    requires(!std::is_const_v<T>)
  {
    return {data, n_tokens, n_heads, dim, token_stride, head_stride};
  }
};

}  // namespace moebox::train_ops
