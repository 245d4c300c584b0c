// Where documents come from: files, read as a stream of records with bounded memory. What is in a record (JSON, say) is
// found out later, by many threads (document.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/shard.h"

namespace moebox::data {

enum class SourceFormat : std::uint8_t { text, jsonl, code, parquet };

/// What is a document of a text file.
enum class TextUnit : std::uint8_t { file, line, blank_line };

struct SourceOptions {
  std::vector<std::filesystem::path> files;  // as find_files() gives them
  SourceFormat format = SourceFormat::text;
  TextUnit unit = TextUnit::file;
  std::string field = "text";  // of JSONL and Parquet: the field with the text
  std::string messages;        // of JSONL: the field with messages instead; then the answers are learnt
  std::string domain = "text";
  Level level = Level::general;
  std::optional<double> weight;
};

/// Files of a pattern: a file; a folder, all of it; or a pattern with * ? [ ]. Sorted by path. In folders hidden files
/// and folders and symbolic links are passed over; with `code`, so is what has no known ending of source code, and
/// folders of other people's (node_modules ...). Throws Error(not_found) when there is none.
std::vector<std::filesystem::path> find_files(const std::string& pattern, bool code);

/// A file's ending says its format: .jsonl, .ndjson, .parquet; anything else is text.
SourceFormat format_of(const std::filesystem::path& file);

struct Record {
  std::string bytes;
  std::size_t file = 0;           // of SourceOptions::files
  std::int64_t line = 0;          // where it begins, from 1; a row of Parquet
  const char* dropped = nullptr;  // the reason, when it was not even read
  std::int64_t dropped_bytes = 0;
  bool cut = false;  // the part of a longer document
};

/// Limits of memory.
struct RecordLimits {
  std::size_t document_bytes = std::size_t{8} << 20;  // longer text is cut at a line's end, or else at a space
  std::size_t line_bytes = std::size_t{64} << 20;     // longer lines of JSONL, and of text by lines, are dropped
};

class RecordReader {
 public:
  virtual ~RecordReader() = default;
  /// The next record in order; false at the end. Throws Error(io), Error(not_found).
  virtual bool next(Record& record) = 0;
  /// Bytes of the files read so far.
  virtual std::uint64_t bytes_read() const noexcept = 0;
};

/// The place to cut a text that is longer than `most` bytes: after a line's end, or a space, in its second half; or
/// else between characters.
std::size_t cut_place(std::string_view text, std::size_t most) noexcept;

/// For all formats but Parquet.
std::unique_ptr<RecordReader> read_records(const SourceOptions& source, const RecordLimits& limits);

}  // namespace moebox::data
