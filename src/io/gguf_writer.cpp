#include "io/gguf_writer.h"

#include <algorithm>
#include <type_traits>

#include <fmt/core.h>

#include "base/checked.h"
#include "base/error.h"
#include "io/quote.h"
#include "io/tensor_layout.h"

namespace moebox {
namespace {

constexpr std::size_t max_ggml_name_bytes = 63;  // ggml's GGML_MAX_NAME, less its final zero

// Numbers of the value types.
constexpr std::uint32_t type_u8 = 0, type_u32 = 4, type_i32 = 5, type_f32 = 6, type_bool = 7, type_string = 8,
                        type_array = 9;

template <class T>
  requires std::is_arithmetic_v<T>
void put(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& to, std::string_view text) {
  put<std::uint64_t>(to, text.size());
  to += text;
}

std::string array_start(std::uint32_t type, std::size_t count) {
  std::string out;
  put(out, type_array);
  put(out, type);
  put<std::uint64_t>(out, count);
  return out;
}

template <class T>
std::string scalar(std::uint32_t type, T value) {
  std::string out;
  put(out, type);
  put(out, value);
  return out;
}

std::uint64_t padding(std::uint64_t n_bytes) noexcept {
  return (GgufHeader::alignment - n_bytes % GgufHeader::alignment) % GgufHeader::alignment;
}

}  // namespace

std::string& GgufHeader::value_of(std::string_view key) {
  for (auto& [name, value] : pairs_)
    if (name == key) return value;
  return pairs_.emplace_back(std::string(key), std::string()).second;
}

bool GgufHeader::has(std::string_view key) const noexcept {
  return std::any_of(pairs_.begin(), pairs_.end(), [&](const auto& pair) { return pair.first == key; });
}

void GgufHeader::set_u32(std::string_view key, std::uint32_t value) { value_of(key) = scalar(type_u32, value); }
void GgufHeader::set_f32(std::string_view key, float value) { value_of(key) = scalar(type_f32, value); }
void GgufHeader::set_bool(std::string_view key, bool value) {
  value_of(key) = scalar<std::uint8_t>(type_bool, value ? 1 : 0);
}

void GgufHeader::set_string(std::string_view key, std::string_view value) {
  std::string out;
  put(out, type_string);
  put_text(out, value);
  value_of(key) = std::move(out);
}

void GgufHeader::set_strings(std::string_view key, std::span<const std::string> values) {
  std::string out = array_start(type_string, values.size());
  for (const std::string& value : values) put_text(out, value);
  value_of(key) = std::move(out);
}

void GgufHeader::set_i32s(std::string_view key, std::span<const std::int32_t> values) {
  std::string out = array_start(type_i32, values.size());
  for (const std::int32_t value : values) put(out, value);
  value_of(key) = std::move(out);
}

void GgufHeader::set_f32s(std::string_view key, std::span<const float> values) {
  std::string out = array_start(type_f32, values.size());
  for (const float value : values) put(out, value);
  value_of(key) = std::move(out);
}

void GgufHeader::set_u8s(std::string_view key, std::string_view bytes) {
  value_of(key) = array_start(type_u8, bytes.size()).append(bytes);
}

void GgufHeader::set_encoded(std::string_view key, std::span<const std::byte> value) {
  value_of(key).assign(reinterpret_cast<const char*>(value.data()), value.size());
}

void GgufHeader::add_tensor(std::string_view name, DType dtype, std::span<const std::int64_t> shape) {
  const std::string where = "tensor " + quote(name);
  const auto refuse = [&](std::string what) { throw Error(ErrorKind::invalid_argument, std::move(what), where); };
  if (name.empty() || name.size() > max_ggml_name_bytes)
    refuse(fmt::format("a name must have 1 to {} bytes, found {}", max_ggml_name_bytes, name.size()));
  if (!names_.emplace(name).second) refuse("two tensors have this name");
  if (!dtype_from_ggml(static_cast<std::uint32_t>(dtype)))
    refuse(fmt::format("GGUF has no type {}", moebox::name(dtype)));
  if (shape.size() > static_cast<std::size_t>(TensorView::max_rank))
    refuse(fmt::format("at most {} dimensions are possible, found {}", TensorView::max_rank, shape.size()));
  TensorView view;
  view.name = name;
  view.dtype = dtype;
  view.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), view.shape.begin());
  const std::uint64_t n_bytes = tensor_bytes(view, "the file to be written");
  tensors_.push_back({std::string(name), dtype, {shape.begin(), shape.end()}, data_bytes_, n_bytes});
  data_bytes_ = checked_add(checked_add(data_bytes_, n_bytes, where), padding(n_bytes), where);
}

std::string GgufHeader::bytes() const {
  std::string out = "GGUF";
  put<std::uint32_t>(out, 3);
  put<std::uint64_t>(out, tensors_.size());
  put<std::uint64_t>(out, pairs_.size());
  for (const auto& [key, value] : pairs_) {
    put_text(out, key);
    out += value;
  }
  for (const Tensor& tensor : tensors_) {
    put_text(out, tensor.name);
    put(out, static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size)
      put(out, static_cast<std::uint64_t>(*size));
    put(out, static_cast<std::uint32_t>(tensor.dtype));
    put(out, tensor.offset);
  }
  out.resize(out.size() + static_cast<std::size_t>(padding(out.size())));
  return out;
}

GgufStream::GgufStream(OutputFile& file, const GgufHeader& header) : file_(file), header_(header) {
  const std::string start = header.bytes();
  file.reserve(checked_add<std::uint64_t>(start.size(), header.data_bytes()));
  file.write(std::as_bytes(std::span(start)));
}

void GgufStream::write(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const auto& tensors = header_.tensors();
  if (tensor_ >= tensors.size() || bytes.size() > tensors[tensor_].n_bytes - done_)
    throw Error(ErrorKind::internal, "more bytes than the header says",
                tensor_ < tensors.size() ? "tensor " + tensors[tensor_].name : "the end of the file");
  file_.write(bytes);
  done_ += bytes.size();
  if (done_ < tensors[tensor_].n_bytes) return;
  constexpr std::byte zeros[GgufHeader::alignment]{};
  file_.write(std::span(zeros).first(static_cast<std::size_t>(padding(done_))));
  done_ = 0;
  ++tensor_;
}

void GgufStream::finish() const {
  if (tensor_ == header_.tensors().size()) return;
  throw Error(ErrorKind::internal, "the tensor is not complete", "tensor " + header_.tensors()[tensor_].name);
}

}  // namespace moebox
