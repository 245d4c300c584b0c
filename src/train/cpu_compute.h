// The way from tensors to the operators of train/ops: on LibTorch's own threads, so that no second pool of threads
// takes the processors from it.
#pragma once

#include "train/ops/compute.h"
#include "train/ops/heads.h"
#include "train/ops/rows.h"
#include "train/torch.h"

namespace moebox::train {

/// Whether train/ops computes with this tensor: on a processor, in float32 or bfloat16.
inline bool is_for_cpu_operators(const Tensor& x) {
  return x.device().is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

/// The calling thread's: its scratch memory stays for the next call. Throws Error when MOEBOX_ISA names no instruction
/// set of this machine.
train_ops::Compute& cpu_compute();

template <class T>
inline constexpr at::ScalarType scalar_type_of = sizeof(T) == 4 ? at::kFloat : at::kBFloat16;

/// Elements, where the tensor is stored in this type. It may only be written to where it is the caller's own.
template <class T>
T* elements(const Tensor& x) {
  TORCH_INTERNAL_ASSERT(x.scalar_type() == scalar_type_of<T>);
  return static_cast<T*>(x.data_ptr());
}
/// (rows, columns), columns without gaps.
template <class T>
train_ops::Rows<T> rows_of(const Tensor& x) {
  TORCH_INTERNAL_ASSERT(x.dim() == 2 && (x.stride(1) == 1 || x.size(1) <= 1));
  return {elements<std::remove_const_t<T>>(x), x.size(0), x.size(1), x.stride(0)};
}
/// (n_tokens, heads, dim), dim without gaps.
template <class T>
train_ops::Heads<T> heads_of(const Tensor& x) {
  TORCH_INTERNAL_ASSERT(x.dim() == 3 && (x.stride(2) == 1 || x.size(2) <= 1));
  return {elements<std::remove_const_t<T>>(x), x.size(0), x.size(1), x.size(2), x.stride(0), x.stride(1)};
}

/// Calls work(T{}) with the C++ type of the tensor's elements.
template <class Work>
decltype(auto) for_type_of(const Tensor& x, Work&& work) {
  return x.scalar_type() == at::kFloat ? work(float{}) : work(BFloat16{});
}

}  // namespace moebox::train
