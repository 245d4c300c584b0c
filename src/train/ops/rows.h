// A matrix in memory, row by row. It owns nothing.
#pragma once

#include <cstdint>
#include <type_traits>

namespace moebox::train_ops {

/// Row i begins at data + i * stride (in elements); stride >= n_columns.
template <class T>
struct Rows {
  T* data = nullptr;
  std::int64_t n_rows = 0, n_columns = 0, stride = 0;

  Rows() = default;
  Rows(T* data, std::int64_t n_rows, std::int64_t n_columns) : Rows(data, n_rows, n_columns, n_columns) {}
  Rows(T* data, std::int64_t n_rows, std::int64_t n_columns, std::int64_t stride)
      : data(data), n_rows(n_rows), n_columns(n_columns), stride(stride) {}

  T* row(std::int64_t i) const { return data + i * stride; }
  Rows part(std::int64_t first_row, std::int64_t n) const { return {row(first_row), n, n_columns, stride}; }
  operator Rows<const T>() const
    requires(!std::is_const_v<T>)
  {
    return {data, n_rows, n_columns, stride};
  }
};

}  // namespace moebox::train_ops
