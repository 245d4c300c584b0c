#include "models/weights.h"

#include "base/checked.h"
#include "base/error.h"
#include "io/checkpoint.h"
#include "spec/tensor_table.h"
#include "tensor/dequantize.h"

namespace moebox {

void WeightPacker::add(const StoredMatrix& stored, PackedMatrix* target) {
  const std::string& name = stored.view.name;
  if (stored.view.dtype == DType::f8_e4m3 && stored.scales == nullptr)
    throw Error(ErrorKind::unsupported, "FP8 without scales is not implemented for this tensor", "tensor " + name);
  target->dtype = stored.packed_dtype();
  target->n_rows = checked_cast<int>(stored.n_rows(), name);
  target->n_columns = checked_cast<int>(stored.n_columns(), name);
  target->panel_bytes = packed_panel_bytes(target->dtype, target->n_columns);
  entries_.push_back({stored, target, total_bytes_});
  const auto bytes = checked_mul(target->panel_bytes, static_cast<std::size_t>(target->n_panels()), name);
  total_bytes_ = checked_add(total_bytes_, checked_align(bytes, std::size_t{64}, name), name);
}

namespace {

/// Packs a matrix whose values have to be converted first.
void pack_converted(const StoredMatrix& stored, const PackedMatrix& target, std::byte* panels, ThreadTeam& team) {
  std::vector<std::byte> converted(static_cast<std::size_t>(target.n_rows) *
                                   row_bytes(target.dtype, static_cast<std::size_t>(target.n_columns)));
  TensorView view;
  view.dtype = target.dtype;
  view.rank = 2;
  view.shape = {target.n_rows, target.n_columns};
  view.data = converted;
  team.run([&](const TeamMember& member) {
    const auto rows = member.part(static_cast<int>(stored.view.n_rows()));
    stored.convert_rows(rows.first, rows.last, converted.data());
    member.wait();
    const auto part = member.part(target.n_panels());
    pack_panels(view, part.first, part.last, panels);
  });
}

}  // namespace

AnonymousMemory WeightPacker::pack(const Checkpoint& checkpoint, ThreadTeam& team) {
  AnonymousMemory memory(checked_add(total_bytes_, prefetch_bytes), "weights", true);
  for (const Entry& entry : entries_) {
    std::byte* panels = memory.data() + entry.offset;
    entry.target->data = panels;
    if (entry.stored.is_plain()) {
      team.run([&](const TeamMember& member) {
        const auto part = member.part(entry.target->n_panels());
        pack_panels(entry.stored.view, part.first, part.last, panels);
      });
    } else {
      pack_converted(entry.stored, *entry.target, panels, team);
    }
    checkpoint.release(entry.stored.view);
  }
  return memory;
}

StoredMatrix stored_matrix(TensorFinder& find, const TensorView& tensor) {
  StoredMatrix matrix{tensor};
  if (tensor.dtype == DType::f8_e4m3) matrix.scales = &find.block_scales(tensor);
  return matrix;
}

std::vector<float> to_floats(const TensorView* tensor) {
  if (tensor == nullptr) return {};
  std::vector<float> values(checked_cast<std::size_t>(tensor->n_elements(), tensor->name));
  dequantize_row(tensor->dtype, tensor->data.data(), values.data(), values.size());
  return values;
}

}  // namespace moebox
