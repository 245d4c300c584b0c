#include "convert/convert.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <system_error>

#include "base/error.h"
#include "base/thread_team.h"
#include "convert/plan.h"
#include "convert/recipe.h"
#include "convert/tokenizer_metadata.h"
#include "io/gguf_writer.h"
#include "io/output_file.h"
#include "spec/architecture.h"
#include "tensor/dequantize.h"
#include "tensor/quantize.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t slab_bytes = std::size_t{32} << 20;  // written, and at most four times as many floats read
constexpr std::uint32_t quantization_version = 2;          // of the block formats' layouts

bool is_blocks(DType dtype) { return info(dtype).block_elements > 1; }
bool is_stored_as(const PlannedTensor& tensor, DType dtype) {
  const auto& parts = tensor.source.parts;
  return !parts.empty() &&
         std::all_of(parts.begin(), parts.end(), [&](const StoredPart& part) { return part.view.dtype == dtype; });
}

/// What one thread finds out about its rows.
struct alignas(64) RowFindings {
  double error_squares = 0, squares = 0;
  bool not_finite = false, too_large = false;
};

/// Converts one tensor slab by slab.
class TensorConverter {
 public:
  TensorConverter(const PlannedTensor& tensor, DType to, bool measure, ThreadTeam& team)
      : tensor_(tensor), to_(to), measure_(measure), team_(team) {
    for (int i = 0; i < team.size(); ++i) readers_.emplace_back(tensor.source);
    columns_ = readers_.front().n_columns();
    const std::int64_t elements =
        std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1}, std::multiplies<>());
    rows_ = elements / columns_;
    row_bytes_ = row_bytes(to, static_cast<std::size_t>(columns_));
    // The scratch memory of all threads, allocated here: a member of the team must not throw.
    const auto floats = static_cast<std::size_t>(columns_);
    values_.resize(static_cast<std::size_t>(team.size()), std::vector<float>(floats));
    again_.resize(values_.size(), std::vector<float>(measure ? floats : 0));
    findings_.resize(values_.size());
  }

  std::int64_t n_rows() const noexcept { return rows_; }
  std::int64_t rows_of_slab() const noexcept {
    const auto rows = static_cast<std::int64_t>(slab_bytes / std::max(row_bytes_, std::size_t{1}));
    return std::clamp<std::int64_t>(rows, 1, rows_);
  }

  /// Rows [first, first + count) as they will be stored. Throws Error(invalid_file) for numbers that cannot be.
  std::span<const std::byte> convert(std::int64_t first, std::int64_t count) {
    slab_.resize(static_cast<std::size_t>(count) * row_bytes_);
    const auto rows = static_cast<int>(count);
    team_.run([&](const TeamMember& member) {
      const auto part = member.part(rows);
      for (int row = part.first; row < part.last; ++row)
        convert_row(static_cast<std::size_t>(member.index), first + row,
                    slab_.data() + static_cast<std::size_t>(row) * row_bytes_);
    });
    for (const RowFindings& found : findings_) check(found);
    return slab_;
  }

  double relative_error() const {
    double error = 0, squares = 0;
    for (const RowFindings& found : findings_) {
      error += found.error_squares;
      squares += found.squares;
    }
    return squares > 0 ? std::sqrt(error / squares) : 0;
  }

 private:
  void convert_row(std::size_t member, std::int64_t row, std::byte* out) {
    std::vector<float>& values = values_[member];
    RowFindings& found = findings_[member];
    readers_[member].read(row, values.data());
    float largest = 0, probe = 0;
    for (const float value : values) {
      probe += value * 0.0f;  // NaN from then on, where a value is not finite
      largest = std::max(largest, std::abs(value));
    }
    if (!(probe == 0.0f)) found.not_finite = true;
    if (to_ == DType::f16 && largest >= 65520.0f) found.too_large = true;
    if (found.not_finite || found.too_large) return;
    quantize_row(to_, values.data(), out, values.size());
    if (!measure_) return;
    std::vector<float>& again = again_[member];
    dequantize_row(to_, out, again.data(), again.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double value = values[i], error = value - static_cast<double>(again[i]);
      found.error_squares += error * error;
      found.squares += value * value;
    }
  }

  void check(const RowFindings& found) const {
    const std::string where = "tensor " + tensor_.name;
    if (found.not_finite)
      throw Error(ErrorKind::invalid_file, "expected finite numbers, found a NaN or an infinity", where,
                  "the checkpoint is damaged, or its training went wrong");
    if (found.too_large)
      throw Error(ErrorKind::invalid_file, "has numbers beyond the range of F16", where, "convert it with --type BF16");
  }

  const PlannedTensor& tensor_;
  DType to_;
  bool measure_;
  ThreadTeam& team_;
  std::vector<RowReader> readers_;
  std::int64_t rows_ = 0, columns_ = 0;
  std::size_t row_bytes_ = 0;
  std::vector<std::vector<float>> values_, again_;
  std::vector<RowFindings> findings_;
  std::vector<std::byte> slab_;
};

ConversionPlan make_plan(const Checkpoint& checkpoint, const ConvertOptions& options, ConvertReport& report) {
  if (checkpoint.format() == Checkpoint::Format::gguf) {
    if (!options.keep_mtp)
      throw Error(
          ErrorKind::unsupported,
          "the layer that predicts further tokens is left out only of a Hugging Face folder; this is a GGUF file",
          checkpoint.path().string(), "leave out --no-mtp: nothing loads the layer unless it is asked for");
    return plan_gguf(checkpoint);
  }
  const Architecture& architecture = architecture_of(checkpoint);
  ConversionPlan plan =
      architecture.read_llama_kind != nullptr
          ? plan_llama_kind(checkpoint, architecture.read_llama_kind(checkpoint), architecture.gguf_name)
          : plan_deepseek(checkpoint, read_deepseek(checkpoint), {!options.whole_kv_b, options.keep_mtp});
  const auto vocabulary = std::find_if(plan.tensors.begin(), plan.tensors.end(),
                                       [](const PlannedTensor& tensor) { return tensor.name == "token_embd.weight"; });
  report.has_tokenizer = set_tokenizer(plan.header, checkpoint, vocabulary->shape.front());
  return plan;
}

/// The types of all tensors, which are in the header afterwards.
std::vector<ConvertedTensor> choose_types(ConversionPlan& plan, const Recipe& recipe) {
  plan.header.set_u32("general.file_type", recipe.file_type);
  plan.header.set_u32("general.quantization_version", quantization_version);
  const bool has_output = std::any_of(plan.tensors.begin(), plan.tensors.end(),
                                      [](const PlannedTensor& tensor) { return tensor.name == "output.weight"; });
  std::vector<ConvertedTensor> chosen;
  for (const PlannedTensor& tensor : plan.tensors) {
    const DType to = choose_type(recipe, plan.shape, tensor, has_output);
    plan.header.add_tensor(tensor.name, to, tensor.shape);
    chosen.push_back({tensor.name, tensor.shape, tensor.stored_type(), to});
  }
  return chosen;
}

void refuse_own_input(const Checkpoint& checkpoint, const fs::path& out) {
  for (const fs::path& file : checkpoint.files()) {
    std::error_code none;
    if (fs::equivalent(file, out, none))
      throw Error(ErrorKind::invalid_argument, "is what is read: it cannot be written at the same time", out.string(),
                  "give another name for the result");
  }
}

class Conversion {
 public:
  Conversion(const Checkpoint& checkpoint, const ConvertOptions& options, const GgufHeader& header, OutputFile& file)
      : checkpoint_(checkpoint),
        options_(options),
        total_bytes_(header.data_bytes()),
        team_(options.n_threads),
        stream_(file, header) {
    tell();
  }

  void add(const PlannedTensor& tensor, ConvertedTensor& result) {
    if (is_blocks(result.to) && is_stored_as(tensor, result.to)) return copy(tensor);
    TensorConverter converter(tensor, result.to, options_.measure_error, team_);
    const std::int64_t step = converter.rows_of_slab();
    for (std::int64_t first = 0; first < converter.n_rows(); first += step) {
      const std::int64_t count = std::min(step, converter.n_rows() - first);
      write(converter.convert(first, count));
      release_rows(checkpoint_, tensor.source, first, first + count);
    }
    result.relative_error = converter.relative_error();
  }
  void finish() const { stream_.finish(); }

 private:
  void copy(const PlannedTensor& tensor) {
    for (const StoredPart& part : tensor.source.parts) {
      for (auto rest = part.view.data; !rest.empty();) {
        const auto some = rest.first(std::min(rest.size(), slab_bytes));
        write(some);
        rest = rest.subspan(some.size());
      }
      checkpoint_.release(part.view);
    }
  }
  void write(std::span<const std::byte> bytes) {
    stream_.write(bytes);
    done_bytes_ += bytes.size();
    tell();
  }
  void tell() const {
    if (options_.progress && !options_.progress(std::min(done_bytes_, total_bytes_), total_bytes_))
      throw Error(ErrorKind::cancelled, "the conversion was interrupted; nothing is left of it");
  }

  const Checkpoint& checkpoint_;
  const ConvertOptions& options_;
  std::uint64_t total_bytes_, done_bytes_ = 0;
  ThreadTeam team_;
  GgufStream stream_;
};

}  // namespace

ConvertReport convert(const Checkpoint& checkpoint, const fs::path& out, const ConvertOptions& options) {
  const Recipe& recipe = find_recipe(options.type);
  refuse_own_input(checkpoint, out);
  ConvertReport report;
  ConversionPlan plan = make_plan(checkpoint, options, report);
  report.tensors = choose_types(plan, recipe);
  OutputFile file(out, options.replace);
  Conversion conversion(checkpoint, options, plan.header, file);
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    ConvertedTensor& tensor = report.tensors[i];
    report.quantized_again |= is_blocks(tensor.from) && is_blocks(tensor.to) && tensor.from != tensor.to;
    conversion.add(plan.tensors[i], tensor);
  }
  conversion.finish();
  file.commit();
  report.file_bytes = file.written_bytes();
  return report;
}

}  // namespace moebox
