// Turns a tiny DeepSeek folder into a GGUF as llama.cpp's converters name and shape things: with kv_b whole (older
// files) or as k_b and v_b (newer ones). For tests: it knows what the tiny models have, and no more.
#pragma once

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/float_types.h"
#include "io/checkpoint.h"
#include "models/weights.h"

namespace moebox::test {

class GgufTwin {
 public:
  enum class Kv { whole, split };
  /// Matrices are stored as `dtype`: F32, BF16 or Q8_0 (F32 where rows are no multiple of 32).
  GgufTwin(const std::filesystem::path& folder, Kv kv, DType dtype)
      : source_(Checkpoint::open(folder)), config_(source_.config()), dtype_(dtype) {
    add_tensors(kv);
    add_metadata(kv);
  }

  void write(const std::filesystem::path& path) const {
    std::string header = "GGUF", data;
    put<std::uint32_t>(header, 3);
    put<std::uint64_t>(header, tensors_.size());
    put<std::uint64_t>(header, n_pairs_);
    header += pairs_;
    for (const Tensor& tensor : tensors_) {
      put_string(header, tensor.name);
      put<std::uint32_t>(header, static_cast<std::uint32_t>(tensor.shape.size()));
      for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size)
        put<std::uint64_t>(header, static_cast<std::uint64_t>(*size));
      put<std::uint32_t>(header, static_cast<std::uint32_t>(tensor.dtype));
      put<std::uint64_t>(header, data.size());
      data += tensor.data;
      data.resize((data.size() + 31) / 32 * 32);
    }
    header.resize((header.size() + 31) / 32 * 32);
    std::ofstream(path, std::ios::binary) << header << data;
  }

 private:
  struct Tensor {
    std::string name;
    std::vector<std::int64_t> shape;  // slowest first
    DType dtype;
    std::string data;
  };

  template <class T>
  static void put(std::string& to, T value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  static void put_string(std::string& to, const std::string& text) {
    put<std::uint64_t>(to, text.size());
    to += text;
  }
  void pair(const std::string& key, std::uint32_t type) {
    ++n_pairs_;
    put_string(pairs_, key);
    put(pairs_, type);
  }
  void text(const std::string& key, const std::string& value) {
    pair(key, 8);
    put_string(pairs_, value);
  }
  void integer(const std::string& key, int value) {
    pair("deepseek2." + key, 4);
    put<std::uint32_t>(pairs_, static_cast<std::uint32_t>(value));
  }
  void number(const std::string& key, float value) {
    pair("deepseek2." + key, 6);
    put(pairs_, value);
  }
  int field(const char* key, int fallback = 0) const {
    const auto found = config_.find(key);
    return found == config_.end() || found->is_null() ? fallback : found->get<int>();
  }

  void add(const std::string& name, std::vector<std::int64_t> shape, const std::vector<float>& values, bool matrix) {
    Tensor tensor{name, std::move(shape), matrix ? dtype_ : DType::f32, {}};
    if (tensor.dtype == DType::q8_0 && tensor.shape.back() % 32 != 0) tensor.dtype = DType::f32;
    if (tensor.dtype == DType::q8_0) {
      for (std::size_t i = 0; i < values.size(); i += 32) add_q8_block(tensor.data, values.data() + i);
    } else {
      for (const float value : values) {
        if (tensor.dtype == DType::f32)
          put(tensor.data, value);
        else
          put(tensor.data, to_bfloat16(value).bits);
      }
    }
    tensors_.push_back(std::move(tensor));
  }
  static void add_q8_block(std::string& data, const float* values) {
    float largest = 0;
    for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(values[i]));
    const Half scale = to_half(largest / 127);
    put(data, scale.bits);
    for (int i = 0; i < 32; ++i)
      data += static_cast<char>(to_float(scale) > 0 ? std::lround(values[i] / to_float(scale)) : 0);
  }
  void copy(const std::string& from, const std::string& to) {
    const TensorView* tensor = source_.find_tensor(from);
    if (tensor == nullptr) return;
    const bool matrix = tensor->rank == 2 && to.find("ffn_gate_inp") == std::string::npos;
    add(to, {tensor->shape.begin(), tensor->shape.begin() + tensor->rank}, to_floats(tensor), matrix);
  }

  void add_tensors(Kv kv) {
    copy("model.embed_tokens.weight", "token_embd.weight");
    copy("model.norm.weight", "output_norm.weight");
    copy("lm_head.weight", "output.weight");
    const std::map<std::string, std::string> names = {{"input_layernorm.weight", "attn_norm.weight"},
                                                      {"post_attention_layernorm.weight", "ffn_norm.weight"},
                                                      {"self_attn.q_proj.weight", "attn_q.weight"},
                                                      {"self_attn.q_a_proj.weight", "attn_q_a.weight"},
                                                      {"self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight"},
                                                      {"self_attn.q_b_proj.weight", "attn_q_b.weight"},
                                                      {"self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight"},
                                                      {"self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight"},
                                                      {"self_attn.o_proj.weight", "attn_output.weight"},
                                                      {"mlp.gate_proj.weight", "ffn_gate.weight"},
                                                      {"mlp.up_proj.weight", "ffn_up.weight"},
                                                      {"mlp.down_proj.weight", "ffn_down.weight"},
                                                      {"mlp.gate.weight", "ffn_gate_inp.weight"},
                                                      {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
                                                      {"mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight"},
                                                      {"mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight"},
                                                      {"mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight"}};
    for (int i = 0; i < field("num_hidden_layers"); ++i) {
      const std::string from = "model.layers." + std::to_string(i) + ".", to = "blk." + std::to_string(i) + ".";
      for (const auto& [hf, gguf] : names) copy(from + hf, to + gguf);
      add_kv_b(from, to, kv);
      for (const char* part : {"gate", "up", "down"})
        add_experts(from + "mlp.experts.", std::string(part) + "_proj.weight", to + "ffn_" + part + "_exps.weight");
    }
  }
  void add_experts(const std::string& from, const std::string& part, const std::string& to) {
    std::vector<float> all;
    std::vector<std::int64_t> shape = {field("n_routed_experts")};
    for (int e = 0; e < field("n_routed_experts"); ++e) {
      const TensorView* tensor = source_.find_tensor(from + std::to_string(e) + "." + part);
      if (tensor == nullptr) return;
      if (e == 0) shape.insert(shape.end(), tensor->shape.begin(), tensor->shape.begin() + 2);
      const auto values = to_floats(tensor);
      all.insert(all.end(), values.begin(), values.end());
    }
    add(to, shape, all, true);
  }
  void add_kv_b(const std::string& from, const std::string& to, Kv kv) {
    if (kv == Kv::whole) return copy(from + "self_attn.kv_b_proj.weight", to + "attn_kv_b.weight");
    const auto all = to_floats(&source_.tensor(from + "self_attn.kv_b_proj.weight"));
    const int heads = field("num_attention_heads"), nope = field("qk_nope_head_dim"), v = field("v_head_dim"),
              rank = field("kv_lora_rank");
    std::vector<float> k_b, v_b;  // (heads, rank, nope), (heads, v, rank)
    for (int h = 0; h < heads; ++h) {
      const float* head = all.data() + static_cast<std::ptrdiff_t>(h * (nope + v)) * rank;
      for (int r = 0; r < rank; ++r)
        for (int d = 0; d < nope; ++d) k_b.push_back(head[d * rank + r]);
      v_b.insert(v_b.end(), head + nope * rank, head + (nope + v) * rank);
    }
    add(to + "attn_k_b.weight", {heads, rank, nope}, k_b, true);
    add(to + "attn_v_b.weight", {heads, v, rank}, v_b, true);
  }

  void add_metadata(Kv kv) {
    text("general.architecture", "deepseek2");
    text("tokenizer.ggml.model", "no_vocab");
    const int rank = field("kv_lora_rank"), rope = field("qk_rope_head_dim"), v = field("v_head_dim");
    const int key = field("qk_nope_head_dim") + rope;
    integer("block_count", field("num_hidden_layers"));
    integer("context_length", field("max_position_embeddings"));
    integer("embedding_length", field("hidden_size"));
    integer("feed_forward_length", field("intermediate_size"));
    integer("attention.head_count", field("num_attention_heads"));
    integer("attention.head_count_kv", kv == Kv::split ? 1 : field("num_attention_heads"));
    number("attention.layer_norm_rms_epsilon", config_.at("rms_norm_eps").get<float>());
    number("rope.freq_base", config_.at("rope_parameters").at("rope_theta").get<float>());
    integer("rope.dimension_count", rope);
    integer("leading_dense_block_count", field("first_k_dense_replace"));
    if (field("q_lora_rank") > 0) integer("attention.q_lora_rank", field("q_lora_rank"));
    integer("attention.kv_lora_rank", rank);
    integer("attention.key_length", kv == Kv::split ? rank + rope : key);
    integer("attention.value_length", kv == Kv::split ? rank : v);
    if (kv == Kv::split) {
      integer("attention.key_length_mla", key);
      integer("attention.value_length_mla", v);
    }
    integer("expert_feed_forward_length", field("moe_intermediate_size"));
    integer("expert_count", field("n_routed_experts"));
    integer("expert_shared_count", field("n_shared_experts"));
    integer("expert_used_count", field("num_experts_per_tok"));
    number("expert_weights_scale", config_.at("routed_scaling_factor").get<float>());
    pair("deepseek2.expert_weights_norm", 7);
    put<char>(pairs_, config_.value("norm_topk_prob", false) ? 1 : 0);
    const bool sigmoid = config_.at("model_type") == "deepseek_v3";
    if (sigmoid) integer("expert_gating_func", 2);
    if (field("n_group", 1) > 1) {
      integer("expert_group_count", field("n_group"));
      integer("expert_group_used_count", field("topk_group"));
    }
    const auto& parameters = config_.at("rope_parameters");
    if (parameters.at("rope_type") != "yarn") return;
    pair("deepseek2.rope.scaling.type", 8);
    put_string(pairs_, "yarn");
    number("rope.scaling.factor", parameters.at("factor").get<float>());
    integer("rope.scaling.original_context_length", parameters.at("original_max_position_embeddings").get<int>());
    number("rope.scaling.yarn_log_multiplier", 0.1f * parameters.at("mscale_all_dim").get<float>());
  }

  Checkpoint source_;
  const nlohmann::json& config_;
  DType dtype_;
  std::vector<Tensor> tensors_;
  std::string pairs_;
  std::uint64_t n_pairs_ = 0;
};

}  // namespace moebox::test
