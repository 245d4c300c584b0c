// What each file in isa/ adds to a table. No include guard: the dispatcher includes it once for each instruction set;
// the files themselves get MOEBOX_SIMD from the layer that they are compiled against.
#ifndef MOEBOX_SIMD
#include "kernels/simd/simd.h"
#endif

#include "train/ops/kernel_table.h"

namespace moebox::train_ops::MOEBOX_SIMD {

void add_product_kernels(KernelTable& table) noexcept;
void add_row_kernels(KernelTable& table) noexcept;
void add_norm_kernels(KernelTable& table) noexcept;
void add_softmax_kernels(KernelTable& table) noexcept;
void add_optimiser_kernels(KernelTable& table) noexcept;

}  // namespace moebox::train_ops::MOEBOX_SIMD
