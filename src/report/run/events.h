// A run's steps as TensorBoard's events: which figures, under which tags; beside the log while it trains, or of a log
// that is there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <vector>

#include "report/run/log_line.h"
#include "report/run/tensorboard.h"

namespace moebox::report {

/// What TensorBoard shows of a step; what is no number is left out.
std::vector<Scalar> scalars_of(const LoggedStep& step);

/// An event file that grows with a run.
class EventFile {
 public:
  /// Makes a file in `folder` that TensorBoard reads behind all that are there. `first_step` is the one that comes
  /// next: what earlier files say of it and later steps is forgotten, for the run has gone back. Throws Error(io).
  EventFile(const std::filesystem::path& folder, std::int64_t first_step);
  /// Throws Error(io).
  void add(const LoggedStep& step);

 private:
  void append(const std::string& record);

  std::filesystem::path file_;
  std::ofstream out_;
};

/// Of a whole log, into `folder`, which is made; says where. Steps' times are counted back from `end_time`, when the
/// log was last written; 0: the file's own. A file that this function wrote before is replaced. Throws Error: as
/// read_log() does; invalid_argument where other events are in the folder, which readers would add to these; io.
std::filesystem::path convert_log(const std::filesystem::path& log, const std::filesystem::path& folder,
                                  double end_time = 0);

}  // namespace moebox::report
