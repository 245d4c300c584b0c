// What the trainer's tests share: golden files as tensors, and distances between tensors.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "io/safetensors.h"
#include "tensor/dequantize.h"
#include "train/cross_entropy.h"
#include "train/model.h"

namespace moebox::train::test {

inline std::filesystem::path golden_dir() { return std::filesystem::path(MOEBOX_TEST_DIR) / "golden"; }

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return nlohmann::json::parse(in);
}

/// The float32, float16 and bfloat16 tensors of one safetensors file, as float32.
inline std::map<std::string, Tensor> read_tensors(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  std::map<std::string, Tensor> tensors;
  for (const TensorView& view : parse_safetensors(std::as_bytes(std::span(bytes)), path.string())) {
    const std::vector<std::int64_t> shape(view.shape.begin(), view.shape.begin() + view.rank);
    const Tensor values = at::empty(shape, at::kFloat);
    dequantize_row(view.dtype, view.data.data(), values.mutable_data_ptr<float>(),
                   static_cast<std::size_t>(view.n_elements()));
    tensors.emplace(view.name, values);
  }
  return tensors;
}

/// A list of rows of equal length.
inline Tensor integers(const nlohmann::json& rows) {
  const auto values = rows.get<std::vector<std::vector<std::int64_t>>>();
  Tensor all =
      at::empty({static_cast<std::int64_t>(values.size()), static_cast<std::int64_t>(values.at(0).size())}, at::kLong);
  for (std::size_t i = 0; i < values.size(); ++i)
    std::memcpy(all[static_cast<std::int64_t>(i)].mutable_data_ptr<std::int64_t>(), values[i].data(),
                values[i].size() * sizeof(std::int64_t));
  return all;
}

/// At each place the label of the next one, as transformers shifts them.
inline Tensor shifted(const Tensor& labels) {
  const Tensor targets = at::full_like(labels, no_target);
  targets.narrow(1, 0, labels.size(1) - 1).copy_(labels.narrow(1, 1, labels.size(1) - 1));
  return targets;
}

/// Euclidean.
inline double distance(const Tensor& a, const Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>();
}
inline double length_of(const Tensor& a) { return a.to(at::kDouble).norm().item<double>(); }

inline bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = a.contiguous(), y = b.contiguous();
  return x.sizes() == y.sizes() && x.scalar_type() == y.scalar_type() &&
         std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

/// So many of LibTorch's threads while it lives.
class Threads {
 public:
  explicit Threads(int n) : before_(at::get_num_threads()) { at::set_num_threads(n); }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  const int before_;
};

/// Random numbers of a fixed seed.
inline Tensor normal(std::initializer_list<std::int64_t> shape, std::uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator, at::TensorOptions(at::kFloat));
}

}  // namespace moebox::train::test
