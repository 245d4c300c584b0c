// Linear layers over a ragged batch, as the members of a team run them: quantise rows, wait, multiply panels.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>

#include "base/thread_team.h"
#include "kernels/kernels.h"

namespace moebox {

/// Memory that is 64-byte aligned and not touched until it is used.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t bytes);
  std::byte* bytes() const noexcept { return data_.get(); }
  float* floats() const noexcept { return reinterpret_cast<float*>(data_.get()); }
  std::size_t size() const noexcept { return size_; }  // bytes

 private:
  struct Free {
    void operator()(std::byte* data) const noexcept;
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_ = 0;
};

/// Bytes of all these buffers.
inline std::size_t total_size(std::initializer_list<const AlignedBuffer*> buffers) noexcept {
  std::size_t sum = 0;
  for (const AlignedBuffer* buffer : buffers) sum += buffer->size();
  return sum;
}

/// A set of activation types: what the matrices of one group need.
class ActivationTypes {
 public:
  ActivationTypes() = default;
  ActivationTypes(std::initializer_list<const PackedMatrix*> matrices) {
    for (const PackedMatrix* matrix : matrices) bits_ |= 1u << static_cast<unsigned>(activation_type(matrix->dtype));
  }
  ActivationTypes& operator|=(ActivationTypes other) noexcept {
    bits_ |= other.bits_;
    return *this;
  }
  bool contains(ActivationType type) const noexcept { return (bits_ >> static_cast<unsigned>(type)) & 1u; }

 private:
  unsigned bits_ = 0;
};

/// The activations of one step in every type that a model needs; each layer's group overwrites the last one's.
class Activations {
 public:
  Activations(ActivationTypes types, int max_tokens, int max_columns);

  /// Converts this member's share of the rows of x (n_tokens, n_columns). A barrier must follow before multiply().
  void quantize_rows(const KernelTable& kernels, ActivationTypes types, const float* x, std::ptrdiff_t stride,
                     int n_tokens, int n_columns, int first, int last) const noexcept;
  const std::byte* of(DType weights) const noexcept {
    return buffers_[static_cast<std::size_t>(activation_type(weights))].bytes();
  }
  std::size_t size() const noexcept { return total_size({&buffers_[0], &buffers_[1], &buffers_[2]}); }  // bytes

 private:
  AlignedBuffer buffers_[3];
};

/// One product of a group: out (n_tokens, n_rows), rows `stride` floats apart.
struct Product {
  const PackedMatrix* matrix;
  float* out;
  std::ptrdiff_t stride;
};

/// This member's share of the panels of all products, which read the same activations.
void multiply(const TeamMember& member, const KernelTable& kernels, const Activations& activations, int n_tokens,
              std::initializer_list<Product> products) noexcept;

inline std::size_t bytes_of(const PackedMatrix& matrix) noexcept {
  return matrix.panel_bytes * static_cast<std::size_t>(matrix.n_panels());
}

/// Multiply-adds of the matrix and one token.
inline std::int64_t products_of(const PackedMatrix& matrix) noexcept {
  return std::int64_t{matrix.n_rows} * matrix.n_columns;
}

/// The panels [first, first + count) of a matrix, as a matrix.
PackedMatrix panel_range(const PackedMatrix& matrix, int first, int count) noexcept;

}  // namespace moebox
