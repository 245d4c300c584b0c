// Projections and what is done row by row.
#include "train/cpu_compute.h"
#include "train/cpu_operators.h"
#include "train/ops/linear.h"
#include "train/ops/norm.h"
#include "train/ops/rope.h"
#include "train/ops/swiglu.h"

namespace moebox::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Project : torch::autograd::Function<Project> {
  static Tensor forward(AutogradContext* context, const Tensor& any_x, const Tensor& weight) {
    const Tensor x = any_x.contiguous(), matrix = weight.to(x.scalar_type()).contiguous();
    const Tensor y = at::empty({x.size(0), weight.size(0)}, x.options());
    for_type_of(x, [&]<class T>(T) {
      train_ops::linear_forward(cpu_compute(), rows_of<const T>(x), rows_of<const T>(matrix), rows_of<T>(y));
    });
    context->save_for_backward({x, matrix});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor &x = saved[0], &matrix = saved[1], dy = gradients[0].contiguous();
    Tensor dx, d_weight;
    for_type_of(x, [&]<class T>(T) {
      if (context->needs_input_grad(0)) {
        dx = at::empty_like(x);
        train_ops::linear_input_gradient(cpu_compute(), rows_of<const T>(dy), rows_of<const T>(matrix), rows_of<T>(dx));
      }
      if (context->needs_input_grad(1)) {
        d_weight = at::empty(matrix.sizes(), x.options().dtype(at::kFloat));
        train_ops::linear_weight_gradient(cpu_compute(), rows_of<const T>(dy), rows_of<const T>(x),
                                          elements<float>(d_weight), false);
      }
    });
    return {dx, d_weight};
  }
};

/// Calls work(X{}, Y{}) with the types of the norm's input and output.
template <class Work>
void for_norm_types(const Tensor& x, at::ScalarType y, Work&& work) {
  if (y == at::kFloat)
    work(float{}, float{});
  else if (x.scalar_type() == at::kFloat)
    work(float{}, BFloat16{});
  else
    work(BFloat16{}, BFloat16{});
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight, double epsilon,
                        at::ScalarType type) {
    const Tensor y = at::empty(x.sizes(), x.options().dtype(type));
    const Tensor rstd = at::empty({x.size(0)}, x.options().dtype(at::kFloat));
    for_norm_types(x, type, [&]<class X, class Y>(X, Y) {
      train_ops::rms_norm_forward(cpu_compute(), rows_of<const X>(x), elements<float>(weight),
                                  static_cast<float>(epsilon), rows_of<Y>(y), elements<float>(rstd));
    });
    context->save_for_backward({x, weight, rstd});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], dy = gradients[0].contiguous();
    const Tensor dx = at::empty(x.sizes(), x.options()), d_weight = at::empty_like(weight);
    for_norm_types(x, dy.scalar_type(), [&]<class X, class Y>(X, Y) {
      train_ops::rms_norm_backward(cpu_compute(), rows_of<const Y>(dy), rows_of<const X>(x), elements<float>(weight),
                                   elements<float>(saved[2]), rows_of<X>(dx), elements<float>(d_weight), false);
    });
    return {dx, d_weight, {}, {}};
  }
};

struct Swiglu : torch::autograd::Function<Swiglu> {
  static Tensor forward(AutogradContext* context, const Tensor& any_gate_up) {
    const Tensor gate_up = any_gate_up.contiguous();
    const Tensor out = at::empty({gate_up.size(0), gate_up.size(1) / 2}, gate_up.options());
    for_type_of(
        out, [&]<class T>(T) { train_ops::swiglu_forward(cpu_compute(), rows_of<const T>(gate_up), rows_of<T>(out)); });
    context->save_for_backward({gate_up});
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor gate_up = context->get_saved_variables()[0], d_out = gradients[0].contiguous();
    const Tensor d_gate_up = at::empty_like(gate_up);
    for_type_of(d_out, [&]<class T>(T) {
      train_ops::swiglu_backward(cpu_compute(), rows_of<const T>(d_out), rows_of<const T>(gate_up),
                                 rows_of<T>(d_gate_up));
    });
    return {d_gate_up};
  }
};

struct Rotate : torch::autograd::Function<Rotate> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& cos, const Tensor& sin,
                        bool interleaved) {
    context->save_for_backward({cos, sin});
    context->saved_data["interleaved"] = interleaved;
    return turned(x.contiguous(), cos, sin, interleaved, false);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const bool interleaved = context->saved_data["interleaved"].toBool();
    return {turned(gradients[0].contiguous(), saved[0], saved[1], interleaved, true), {}, {}, {}};
  }

  /// x (batch, length, heads, dim): a token's position is its place in its row.
  static Tensor turned(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved, bool backward) {
    Tensor y = at::empty_like(x);
    const train_ops::RopeAngles angles{elements<float>(cos), elements<float>(sin), x.size(1), cos.size(1), interleaved};
    const std::int64_t n_tokens = x.size(0) * x.size(1);
    for_type_of(x, [&]<class T>(T) {
      train_ops::rope<T>(cpu_compute(), angles, nullptr, backward, {elements<T>(x), n_tokens, x.size(2), x.size(3)},
                         {elements<T>(y), n_tokens, x.size(2), x.size(3)});
    });
    return y;
  }
};

}  // namespace

Tensor cpu_project(const Tensor& x, const Tensor& weight) { return Project::apply(x, weight); }

Tensor cpu_rms_norm(const Tensor& x, const Tensor& weight, double epsilon, at::ScalarType type) {
  const Tensor rows = x.reshape({-1, x.size(-1)});
  // A row's values lie side by side; rows may lie apart.
  return RmsNorm::apply(rows.stride(1) == 1 ? rows : rows.contiguous(), weight, epsilon, type).reshape(x.sizes());
}

Tensor cpu_swiglu(const Tensor& gate_and_up) { return Swiglu::apply(gate_and_up); }

Tensor cpu_rotate(const Tensor& x, const RopeTable& table) {
  return Rotate::apply(x, table.cos, table.sin, table.interleaved);
}

}  // namespace moebox::train
