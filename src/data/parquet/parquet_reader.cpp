#include "data/parquet/parquet_reader.h"

#include <exception>
#include <optional>
#include <string>

#include <arrow/array/array_binary.h>
#include <arrow/io/file.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <parquet/arrow/reader.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>
#include <parquet/properties.h>

#include "base/error.h"
#include "io/quote.h"

namespace moebox::data {
namespace {

constexpr int rows_at_a_time = 128;  // a row may be megabytes

[[noreturn]] void throw_damaged(const std::string& problem, const std::filesystem::path& file) {
  throw Error(ErrorKind::invalid_file, "is no Parquet file that can be read: " + problem.substr(0, 300), file.string());
}

template <class T>
T value_or_throw(arrow::Result<T> result, const std::filesystem::path& file) {
  if (!result.ok()) throw_damaged(result.status().message(), file);
  return std::move(result).ValueUnsafe();
}

/// One file's column as a stream of batches.
class ColumnStream {
 public:
  ColumnStream(const std::filesystem::path& path, const std::string& column) : path_(path) {
    std::error_code missing;
    if (!std::filesystem::exists(path, missing)) throw Error(ErrorKind::not_found, "is not there", path.string());
    parquet::arrow::FileReaderBuilder builder;
    const arrow::Status opened = builder.OpenFile(path.string(), true);
    if (!opened.ok()) throw_damaged(opened.message(), path);
    parquet::ArrowReaderProperties properties(false);  // other threads have other work
    properties.set_batch_size(rows_at_a_time);
    builder.properties(properties);
    file_ = value_or_throw(builder.Build(), path);
    n_rows_ = file_->parquet_reader()->metadata()->num_rows();
    n_bytes_ = static_cast<std::uint64_t>(std::filesystem::file_size(path, missing));
    std::vector<int> groups;
    for (int group = 0; group < file_->num_row_groups(); ++group) groups.push_back(group);
    batches_ = value_or_throw(file_->GetRecordBatchReader(groups, {find_column(column)}), path);
  }

  /// The next row's text; nothing where the row has none. False at the end.
  bool next(std::optional<std::string_view>& text) {
    while (!batch_ || row_ == batch_->num_rows()) {
      batch_ = value_or_throw(batches_->Next(), path_);
      row_ = 0;
      if (!batch_) return false;
    }
    const auto& column = batch_->column(0);
    text.reset();
    if (column->IsValid(row_)) text = text_at(*column);
    ++row_;
    ++n_given_;
    return true;
  }
  std::uint64_t bytes_read() const noexcept {
    return n_rows_ == 0 ? n_bytes_
                        : static_cast<std::uint64_t>(static_cast<double>(n_bytes_) * static_cast<double>(n_given_) /
                                                     static_cast<double>(n_rows_));
  }

 private:
  int find_column(const std::string& name) const {
    std::shared_ptr<arrow::Schema> schema;
    if (const arrow::Status status = file_->GetSchema(&schema); !status.ok()) throw_damaged(status.message(), path_);
    std::string known;
    // Nested columns have several leaves: a leaf is asked for by its place among all leaves.
    const auto* leaves = file_->parquet_reader()->metadata()->schema();
    for (int leaf = 0; leaf < leaves->num_columns(); ++leaf) {
      const std::string path = leaves->Column(leaf)->path()->ToDotString();
      if (path == name) {
        const auto field = schema->GetFieldByName(name);
        const auto type = field ? field->type()->id() : arrow::Type::NA;
        if (type == arrow::Type::STRING || type == arrow::Type::LARGE_STRING) return leaf;
        throw Error(
            ErrorKind::invalid_argument,
            "the column " + quote(name) + " is " + (field ? field->type()->ToString() : "nested") + ", expected texts",
            path_.string());
      }
      known += (known.empty() ? "" : ", ") + path;
    }
    throw Error(ErrorKind::invalid_argument, "there is no column " + quote(name), path_.string(),
                "the columns are " + known.substr(0, 300));
  }

  std::string_view text_at(const arrow::Array& column) const {
    if (column.type_id() == arrow::Type::STRING) return static_cast<const arrow::StringArray&>(column).GetView(row_);
    return static_cast<const arrow::LargeStringArray&>(column).GetView(row_);
  }

  std::filesystem::path path_;
  std::unique_ptr<parquet::arrow::FileReader> file_;
  std::unique_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  std::int64_t row_ = 0, n_rows_ = 0, n_given_ = 0;
  std::uint64_t n_bytes_ = 0;
};

class ParquetReader final : public RecordReader {
 public:
  ParquetReader(const SourceOptions& source, const RecordLimits& limits) : source_(source), limits_(limits) {}

  bool next(Record& record) override {
    for (; file_ < source_.files.size(); ++file_) {
      try {
        if (!stream_) stream_.emplace(source_.files[file_], source_.field);
        if (read(record)) return true;
      } catch (const Error&) {
        throw;
      } catch (const std::exception& problem) {  // Parquet's own
        throw_damaged(problem.what(), source_.files[file_]);
      }
      n_before_ += stream_->bytes_read();
      stream_.reset();
      line_ = 0;
    }
    return false;
  }
  std::uint64_t bytes_read() const noexcept override { return n_before_ + (stream_ ? stream_->bytes_read() : 0); }

 private:
  bool read(Record& record) {
    std::optional<std::string_view> text;
    if (!stream_->next(text)) return false;
    record = {};
    record.file = file_;
    record.line = ++line_;
    if (!text) {
      record.dropped = "not_a_text";
    } else if (text->size() > limits_.line_bytes) {
      record.dropped = "line_too_long";
      record.dropped_bytes = static_cast<std::int64_t>(text->size());
    } else {
      record.bytes = *text;
    }
    return true;
  }

  const SourceOptions source_;
  const RecordLimits limits_;
  std::size_t file_ = 0;
  std::optional<ColumnStream> stream_;
  std::int64_t line_ = 0;
  std::uint64_t n_before_ = 0;
};

}  // namespace

std::unique_ptr<RecordReader> read_parquet(const SourceOptions& source, const RecordLimits& limits) {
  return std::make_unique<ParquetReader>(source, limits);
}

}  // namespace moebox::data
