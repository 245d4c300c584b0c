#include "convert/recipe.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <string>

#include "base/error.h"

namespace moebox {
namespace {

using Mix = Recipe::Mix;

constexpr std::array all_recipes = {
    Recipe{"F32", 0, DType::f32},
    Recipe{"F16", 1, DType::f16},
    Recipe{"BF16", 32, DType::bf16},
    Recipe{"Q8_0", 7, DType::q8_0},
    Recipe{"Q6_K", 18, DType::q6_k},
    Recipe{"Q5_K_M", 17, DType::q5_k, Mix::medium},
    Recipe{"Q5_K_S", 16, DType::q5_k, Mix::small},
    Recipe{"Q5_1", 9, DType::q5_1},
    Recipe{"Q5_0", 8, DType::q5_0},
    Recipe{"Q4_K_M", 15, DType::q4_k, Mix::medium},
    Recipe{"Q4_K_S", 14, DType::q4_k, Mix::small},
    Recipe{"Q4_1", 3, DType::q4_1},
    Recipe{"Q4_0", 2, DType::q4_0},
    Recipe{"IQ4_NL", 25, DType::iq4_nl, Mix::small},
    Recipe{"MXFP4_MOE", 38, DType::mxfp4, Mix::experts_only},
    Recipe{"Q3_K_L", 13, DType::q3_k, Mix::large},
    Recipe{"Q3_K_M", 12, DType::q3_k, Mix::medium},
    Recipe{"Q3_K_S", 11, DType::q3_k, Mix::small},
    Recipe{"Q2_K", 10, DType::q2_k, Mix::medium},
};

bool is_plain(DType dtype) { return info(dtype).block_elements == 1; }
bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// Rotations, states and positions of other architectures: small, and not made to be quantised.
constexpr std::string_view kept_parts[] = {"ssm_",  "time_mix",  "channel_mix", "position_embd", "token_types",
                                           "rel_b", "shortconv", "conv1d",      "altup",         "laurel"};

/// The layer in "blk.7.ffn_down.weight", or 0.
int layer_of(std::string_view name) {
  constexpr std::string_view start = "blk.";
  int layer = 0;
  if (name.starts_with(start)) std::from_chars(name.data() + start.size(), name.data() + name.size(), layer);
  return std::max(layer, 0);
}

bool more_bits(int layer, int n_layers) {
  return layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2;
}

DType values_type(const Recipe& recipe, const ModelShape& model, int layer) {
  if (model.n_experts == 8) return DType::q8_0;  // attention is a small part of such a model
  const int shared = model.n_heads / std::max(model.n_kv_heads, 1);
  const bool medium = recipe.mix == Mix::medium;
  DType type = recipe.base;
  switch (recipe.base) {
    case DType::q2_k:
      type = shared >= 4 ? DType::q4_k : DType::q3_k;
      break;
    case DType::q3_k:
      if (medium) type = layer < 2 ? DType::q5_k : DType::q4_k;
      if (recipe.mix == Mix::large) type = DType::q5_k;
      break;
    case DType::iq4_nl:
      if (shared >= 4) type = DType::q5_k;
      break;
    case DType::q4_k:
      if (medium && more_bits(layer, model.n_layers)) type = DType::q6_k;
      if (!medium && layer < 4) type = DType::q5_k;
      break;
    case DType::q5_k:
      if (medium && more_bits(layer, model.n_layers)) type = DType::q6_k;
      break;
    default:
      break;
  }
  // The 70B Llamas share each value head among eight: it is small, and all of them depend on it.
  const bool wide = model.architecture == "llama" && model.n_layers == 80 && shared == 8;
  return wide && (type == DType::q3_k || type == DType::q4_k) ? DType::q5_k : type;
}

DType down_type(const Recipe& recipe, const ModelShape& model, int layer) {
  const bool medium = recipe.mix == Mix::medium;
  switch (recipe.base) {
    case DType::q2_k:
      return DType::q3_k;
    case DType::q3_k:
      if (medium) return layer < model.n_layers / 16 ? DType::q5_k : DType::q4_k;
      return recipe.mix == Mix::large ? DType::q5_k : recipe.base;
    case DType::q4_k:
      if (medium) return more_bits(layer, model.n_layers) ? DType::q6_k : recipe.base;
      return layer < model.n_layers / 8 ? DType::q5_k : recipe.base;
    case DType::q5_k:
      return medium && more_bits(layer, model.n_layers) ? DType::q6_k : recipe.base;
    case DType::iq4_nl:
      return layer < model.n_layers / 8 ? DType::q5_k : recipe.base;
    default:
      return recipe.base;
  }
}

DType attention_output_type(const Recipe& recipe, const ModelShape& model) {
  const bool low = recipe.base == DType::q2_k || recipe.base == DType::q3_k;
  if (model.n_experts == 8)
    return (low && recipe.mix != Mix::large) || recipe.base == DType::q4_k || recipe.base == DType::iq4_nl
               ? DType::q5_k
               : recipe.base;
  if (recipe.base == DType::q2_k) return DType::q3_k;
  if (recipe.base == DType::q3_k && recipe.mix == Mix::medium) return DType::q4_k;
  if (recipe.base == DType::q3_k && recipe.mix == Mix::large) return DType::q5_k;
  return recipe.base;
}

DType fused_qkv_type(const Recipe& recipe) {
  const bool medium = recipe.mix == Mix::medium;
  if (recipe.base == DType::q3_k && recipe.mix != Mix::small) return DType::q4_k;
  if (recipe.base == DType::q4_k && medium) return DType::q5_k;
  if (recipe.base == DType::q5_k && medium) return DType::q6_k;
  return recipe.base;
}

/// The type that the recipe wants, whatever the row's length.
DType wanted_type(const Recipe& recipe, const ModelShape& model, const PlannedTensor& tensor, bool has_output) {
  const std::string_view name = tensor.name;
  if (recipe.mix == Mix::experts_only) return tensor.shape.size() == 3 ? recipe.base : DType::q8_0;
  if (is_plain(recipe.base) || recipe.base == DType::q8_0) return recipe.base;
  const bool output = name == "output.weight" || name.ends_with(".nextn.shared_head_head.weight") ||
                      (!has_output && name == "token_embd.weight");
  if (output) return tensor.n_columns() % info(recipe.base).block_elements != 0 ? DType::q8_0 : DType::q6_k;
  const int layer = layer_of(name);
  if (contains(name, "attn_v.weight")) return values_type(recipe, model, layer);
  if (contains(name, "attn_k.weight")) return model.n_experts == 8 ? DType::q8_0 : recipe.base;
  if (contains(name, "ffn_down")) return down_type(recipe, model, layer);
  if (contains(name, "attn_output.weight")) return attention_output_type(recipe, model);
  if (contains(name, "attn_qkv.weight")) return fused_qkv_type(recipe);
  return recipe.base;
}

DType next_type(DType type) {
  switch (type) {
    case DType::q2_k:
    case DType::q3_k:
      return DType::q4_0;
    case DType::q4_k:
      return DType::q5_0;
    case DType::q5_k:
      return DType::q5_1;
    case DType::q6_k:
      return DType::q8_0;
    default:
      return DType::f16;
  }
}

}  // namespace

std::span<const Recipe> recipes() noexcept { return all_recipes; }

const Recipe& find_recipe(std::string_view name) {
  std::string upper(name);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (const Recipe& recipe : all_recipes)
    if (recipe.name == upper) return recipe;
  std::string names;
  for (const Recipe& recipe : all_recipes) names.append(names.empty() ? "" : ", ").append(recipe.name);
  throw Error(ErrorKind::invalid_argument, "there is no type \"" + std::string(name.substr(0, 40)) + "\"", "--type",
              "known are " + names);
}

DType choose_type(const Recipe& recipe, const ModelShape& model, const PlannedTensor& tensor, bool has_output) {
  const std::string_view name = tensor.name;
  const bool kept = std::any_of(std::begin(kept_parts), std::end(kept_parts),
                                [&](std::string_view part) { return contains(name, part); });
  if (kept) return tensor.stored_type();
  const bool matrix = tensor.shape.size() >= 2 && name.ends_with(".weight") && !contains(name, "_norm.") &&
                      !contains(name, "ffn_gate_inp");
  if (!matrix) return DType::f32;
  DType type = wanted_type(recipe, model, tensor, has_output);
  while (tensor.n_columns() % info(type).block_elements != 0) type = next_type(type);
  return type;
}

}  // namespace moebox
