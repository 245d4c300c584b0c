#include "models/weights.h"

#include "base/checked.h"
#include "io/checkpoint.h"
#include "tensor/dequantize.h"

namespace moebox {

void WeightPacker::add(const TensorView& stored, PackedMatrix* target) {
  target->dtype = stored.dtype;
  target->n_rows = checked_cast<int>(stored.n_rows(), stored.name);
  target->n_columns = checked_cast<int>(stored.n_columns(), stored.name);
  target->panel_bytes = packed_panel_bytes(stored.dtype, target->n_columns);
  entries_.push_back({&stored, target, total_bytes_});
  const auto bytes = checked_mul(target->panel_bytes, static_cast<std::size_t>(target->n_panels()), stored.name);
  total_bytes_ = checked_add(total_bytes_, checked_align(bytes, std::size_t{64}, stored.name), stored.name);
}

AnonymousMemory WeightPacker::pack(const Checkpoint& checkpoint, ThreadTeam& team) {
  AnonymousMemory memory(checked_add(total_bytes_, std::size_t{8192}), "weights",
                         true);  // kernels may prefetch past the end
  for (const Entry& entry : entries_) {
    std::byte* panels = memory.data() + entry.offset;
    entry.target->data = panels;
    team.run([&](const TeamMember& member) {
      const auto part = member.part(entry.target->n_panels());
      pack_panels(*entry.stored, part.first, part.last, panels);
    });
    checkpoint.release(*entry.stored);
  }
  return memory;
}

std::vector<float> to_floats(const TensorView* tensor) {
  if (tensor == nullptr) return {};
  std::vector<float> values(checked_cast<std::size_t>(tensor->n_elements(), tensor->name));
  dequantize_row(tensor->dtype, tensor->data.data(), values.data(), values.size());
  return values;
}

}  // namespace moebox
