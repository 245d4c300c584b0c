#include "models/weight_plan.h"

#include <string>

#include "base/checked.h"
#include "base/xxh64.h"
#include "kernels/kernels.h"

namespace moebox {
namespace {

/// A section of small matrices ends when it has so many bytes.
constexpr std::size_t enough_bytes = std::size_t{1} << 20;

}  // namespace

void WeightPlan::add(const StoredMatrix& stored, PackedMatrix* target) {
  const std::string& name = stored.view.name;
  if (stored.view.dtype == DType::f8_e4m3 && stored.scales == nullptr)
    throw Error(ErrorKind::unsupported, "FP8 without scales is not implemented for this tensor", "tensor " + name);
  target->dtype = stored.packed_dtype();
  target->n_rows = checked_cast<int>(stored.n_rows(), name);
  target->n_columns = checked_cast<int>(stored.n_columns(), name);
  target->panel_bytes = packed_panel_bytes(target->dtype, target->n_columns);
  if (sections_.empty() || (!in_expert_ && (sections_.back().is_expert() || sections_.back().bytes >= enough_bytes))) {
    WeightSection section;
    section.offset = end_;
    section.first_matrix = matrices_.size();
    section.first_block = n_blocks();
    sections_.push_back(section);
  }
  WeightSection& section = sections_.back();
  const std::size_t begin = checked_align(section.bytes, std::size_t{64}, name);
  const auto bytes = checked_mul(target->panel_bytes, static_cast<std::size_t>(target->n_panels()), name);
  matrices_.push_back({stored, target, checked_add(section.offset, begin, name)});
  ++section.n_matrices;
  section.bytes = checked_add(begin, bytes, name);
  end_ = checked_align(checked_add(section.offset, section.bytes, name), section_alignment, name);
}

void WeightPlan::begin_expert(int layer, int expert) {
  WeightSection section;
  section.offset = end_;
  section.first_matrix = matrices_.size();
  section.first_block = n_blocks();
  section.layer = layer;
  section.expert = expert;
  sections_.push_back(section);
  in_expert_ = true;
}

std::size_t WeightPlan::n_blocks() const noexcept {
  return sections_.empty() ? 0 : sections_.back().first_block + n_checksum_blocks(sections_.back().bytes);
}

std::uint64_t WeightPlan::digest() const {
  std::string text;
  const auto number = [&](auto value) { text.append(std::to_string(value)).push_back(' '); };
  for (const WeightSection& section : sections_) {
    number(section.offset);
    number(section.bytes);
    number(section.layer);
    number(section.expert);
    for (const PlannedMatrix& matrix : matrices(section)) {
      text.append(matrix.stored.view.name).push_back('\n');
      number(static_cast<int>(matrix.stored.view.dtype));
      number(static_cast<int>(matrix.target->dtype));
      number(matrix.target->n_rows);
      number(matrix.target->n_columns);
      number(matrix.target->panel_bytes);
      number(matrix.stored.first_row);
      number(static_cast<int>(matrix.stored.transposed));
      number(matrix.offset);
    }
  }
  return xxh64(std::as_bytes(std::span(text)));
}

}  // namespace moebox
