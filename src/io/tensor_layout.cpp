#include "io/tensor_layout.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include <fmt/core.h>

#include "base/checked.h"
#include "base/error.h"
#include "io/quote.h"

namespace moebox {
namespace {

[[noreturn]] void throw_invalid(std::string message, const std::string& where, const TensorView& tensor) {
  throw Error(ErrorKind::invalid_file, std::move(message), where + ": tensor " + quote(tensor.name),
              damaged_file_advice);
}

}  // namespace

std::size_t tensor_bytes(const TensorView& view, const std::string& where) {
  const std::string place = where + ": tensor " + quote(view.name);
  std::int64_t n_elements = 1;
  for (int i = 0; i < view.rank; ++i) {
    const std::int64_t dimension = view.shape[static_cast<std::size_t>(i)];
    if (dimension <= 0) {
      throw_invalid(fmt::format("dimension {} of {} must be at least 1, found {}", i, shape_text(view), dimension),
                    where, view);
    }
    n_elements = checked_mul(n_elements, dimension, place);
  }
  const DTypeInfo& type = info(view.dtype);
  if (view.n_columns() % type.block_elements != 0) {
    throw_invalid(fmt::format("a row of type {} must be a multiple of {} elements, found shape {}", type.name,
                              type.block_elements, shape_text(view)),
                  where, view);
  }
  const auto n_blocks = static_cast<std::size_t>(n_elements / type.block_elements);
  const std::size_t n_bytes = checked_mul(n_blocks, static_cast<std::size_t>(type.block_bytes), place);
  checked_cast<std::ptrdiff_t>(n_bytes, place);
  return n_bytes;
}

void check_layout(std::vector<TensorExtent>& extents, std::span<const TensorView> tensors, std::size_t data_bytes,
                  bool gapless, const std::string& where) {
  for (const TensorExtent& extent : extents) {
    if (extent.begin > extent.end || extent.end > data_bytes) {
      throw_invalid(fmt::format("the data at {} .. {} must lie inside the {} bytes of data that the file has",
                                extent.begin, extent.end, data_bytes),
                    where, tensors[extent.tensor]);
    }
  }
  std::sort(extents.begin(), extents.end(),
            [](const TensorExtent& a, const TensorExtent& b) { return a.begin < b.begin; });
  std::size_t end = 0;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (extents[i].begin < end) {
      throw_invalid("its data overlaps that of tensor " + quote(tensors[extents[i - 1].tensor].name), where,
                    tensors[extents[i].tensor]);
    }
    if (gapless && extents[i].begin != end) {
      throw_invalid(fmt::format("{} bytes before its data belong to no tensor", extents[i].begin - end), where,
                    tensors[extents[i].tensor]);
    }
    end = extents[i].end;
  }
  if (gapless && end != data_bytes) {
    throw Error(ErrorKind::invalid_file, fmt::format("{} bytes at the end belong to no tensor", data_bytes - end),
                where, damaged_file_advice);
  }
}

void check_unique_names(std::span<const TensorView> tensors, const std::string& where) {
  std::unordered_set<std::string_view> names;
  names.reserve(tensors.size());
  for (const TensorView& tensor : tensors) {
    if (!names.insert(tensor.name).second) throw_invalid("there are two tensors of this name", where, tensor);
  }
}

}  // namespace moebox
