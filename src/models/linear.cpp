#include "models/linear.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace moebox {

AlignedBuffer::AlignedBuffer(std::size_t bytes) {
  const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + 63) / 64 * 64;
  data_.reset(static_cast<std::byte*>(std::aligned_alloc(64, rounded)));
  if (!data_) throw std::bad_alloc();
  size_ = rounded;
}

void AlignedBuffer::Free::operator()(std::byte* data) const noexcept { std::free(data); }

Activations::Activations(ActivationTypes types, int max_tokens, int max_columns) {
  for (const ActivationType type : {ActivationType::f32, ActivationType::int8_block32, ActivationType::int8_block256})
    if (types.contains(type))
      buffers_[static_cast<std::size_t>(type)] = AlignedBuffer(activation_bytes(type, max_tokens, max_columns));
}

void Activations::quantize_rows(const KernelTable& kernels, ActivationTypes types, const float* x,
                                std::ptrdiff_t stride, int n_tokens, int n_columns, int first,
                                int last) const noexcept {
  if (first == last) return;
  for (const ActivationType type : {ActivationType::f32, ActivationType::int8_block32, ActivationType::int8_block256})
    if (types.contains(type))
      kernels.quantize(type, x, stride, n_tokens, n_columns, first, last,
                       buffers_[static_cast<std::size_t>(type)].bytes());
}

void multiply(const TeamMember& member, const KernelTable& kernels, const Activations& activations, int n_tokens,
              std::initializer_list<Product> products) noexcept {
  int total = 0;
  for (const Product& product : products) total += product.matrix->n_panels();
  const auto part = member.part(total);
  int begin = 0;  // of this product among all panels
  for (const Product& product : products) {
    const int panels = product.matrix->n_panels();
    const int first = std::clamp(part.first - begin, 0, panels), last = std::clamp(part.last - begin, 0, panels);
    if (first < last)
      kernels.matmul(*product.matrix, activations.of(product.matrix->dtype), n_tokens, first, last, product.out,
                     product.stride);
    begin += panels;
  }
}

PackedMatrix panel_range(const PackedMatrix& matrix, int first, int count) noexcept {
  PackedMatrix part = matrix;
  part.data += static_cast<std::size_t>(first) * matrix.panel_bytes;
  part.n_rows = std::min(matrix.n_rows - first * panel_rows, count * panel_rows);
  return part;
}

}  // namespace moebox
