// Compute kernels: packing, and the table of one instruction set. One packed layout and one order of float operations
// serve every instruction set, one token and many: so a result's bits depend neither on the batch nor on the threads
// nor on the instruction set (docs/determinism.md). Kernels take ranges of work; who does which range is the caller's
// business. None of them allocates, throws or logs.
#pragma once

#include <cstddef>
#include <span>

#include "base/cpu.h"
#include "kernels/kernel_table.h"
#include "tensor/tensor_view.h"

namespace moebox {

ActivationType activation_type(DType weights) noexcept;
/// Bytes of one packed panel of `n_columns`. No quantised format takes more than in its file (padding to 32 rows
/// apart).
std::size_t packed_panel_bytes(DType dtype, int n_columns) noexcept;
/// Bytes that `n_tokens` activations of `n_columns` take.
std::size_t activation_bytes(ActivationType type, int n_tokens, int n_columns) noexcept;

/// Packs the panels [first_panel, last_panel) of `stored` (n_rows, n_columns) into `panels`, the start of the whole
/// packed matrix.
void pack_panels(const TensorView& stored, int first_panel, int last_panel, std::byte* panels) noexcept;
/// One row back from the packed layout as floats (n_columns): the same values as dequantize_row on the stored row.
void unpack_row(const PackedMatrix& matrix, int row, float* out) noexcept;

/// The table for one instruction set. Throws Error(unsupported) when this program or this processor lacks it.
const KernelTable& kernel_table(Isa isa);
/// The best that this processor has, or what `MOEBOX_ISA` says ("scalar", "avx2", "avx512", "avx512_bf16", "neon", "neon_dotprod").
const KernelTable& kernel_table();
/// All that can run here, worst first.
std::span<const Isa> available_isas() noexcept;

}  // namespace moebox
