#include "train/recompute.h"

#include <utility>

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace moebox::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What the backward pass computes again.
struct LayerCall : torch::CustomClassHolder {
  LayerCall(LayerFunction called, Pass of_pass) : layer(std::move(called)), pass(std::move(of_pass)) {}

  LayerFunction layer;
  Pass pass;  // with the routing of this layer alone
};

/// The layer's rows, and the logits of its gates: losses look at those, too.
variable_list outputs_of(const LayerCall& call, const Tensor& x, Pass& pass) {
  variable_list outputs{call.layer(x, pass)};
  for (const LayerRouting& gate : pass.routing) outputs.push_back(gate.logits);
  return outputs;
}

struct Recomputed : torch::autograd::Function<Recomputed> {
  static variable_list forward(AutogradContext* context, const Tensor& x, const c10::intrusive_ptr<LayerCall>& call) {
    context->set_materialize_grads(false);
    context->save_for_backward({x});
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    return outputs_of(*call, x, call->pass);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto call = context->saved_data["call"].toCapsule();
    const auto& layer_call = static_cast<const LayerCall&>(*call);
    Pass pass = layer_call.pass;
    pass.routing.clear();
    pass.fixed_ids.clear();
    for (const LayerRouting& gate : layer_call.pass.routing) pass.fixed_ids.push_back(gate.ids);

    const at::AutoGradMode with_gradient(true);
    const Tensor x = context->get_saved_variables()[0].detach().requires_grad_();
    const variable_list outputs = outputs_of(layer_call, x, pass);
    variable_list roots, root_gradients;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!gradients[i].defined()) continue;
      roots.push_back(outputs[i]);
      root_gradients.push_back(gradients[i]);
    }
    torch::autograd::backward(roots, root_gradients);  // the weights' gradients are added where they belong
    return {x.grad(), {}};
  }
};

}  // namespace

Tensor run_layer(const LayerFunction& layer, const Tensor& x, Pass& pass) {
  if (!pass.recompute || !at::GradMode::is_enabled() || !x.requires_grad()) return layer(x, pass);
  Pass of_layer = pass;
  of_layer.routing.clear();
  if (!pass.fixed_ids.empty())
    of_layer.fixed_ids.erase(of_layer.fixed_ids.begin(),
                             of_layer.fixed_ids.begin() + static_cast<std::ptrdiff_t>(pass.routing.size()));
  const auto call = c10::make_intrusive<LayerCall>(layer, std::move(of_layer));
  const variable_list outputs = Recomputed::apply(x, call);
  for (std::size_t i = 0; i < call->pass.routing.size(); ++i) {
    LayerRouting& kept = call->pass.routing[i];
    kept.logits.reset();  // it leads back to the call: neither would ever be freed
    pass.routing.push_back(kept);
    pass.routing.back().logits = outputs[i + 1];
  }
  return outputs[0];
}

}  // namespace moebox::train
