// The gated activation of feed-forward networks (Shazeer 2020): out = silu(gate) * up.
#pragma once

#include "train/ops/compute.h"
#include "train/ops/rows.h"

namespace moebox::train_ops {

/// gate_up (n_rows, 2 * width), gate first; out (n_rows, width). Nothing else is saved.
template <class T>
void swiglu_forward(Compute& compute, Rows<const T> gate_up, Rows<T> out);

/// d_gate_up (n_rows, 2 * width) from d_out (n_rows, width).
template <class T>
void swiglu_backward(Compute& compute, Rows<const T> d_out, Rows<const T> gate_up, Rows<T> d_gate_up);

}  // namespace moebox::train_ops
