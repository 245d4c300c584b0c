// Runs another program without a shell and reads what it writes. Not a general process library: one child, until it
// ends.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moebox {

struct ProcessOptions {
  std::vector<std::string> arguments;                            // [0] is the program, searched in PATH
  std::vector<std::pair<std::string, std::string>> environment;  // set on top of ours
  std::filesystem::path folder;                                  // its working directory
  int inherited_fd = -1;                                         // kept open in the child (a lock), as descriptor 3
};

struct ProcessResult {
  int exit_code = 0;         // 128 + signal when a signal ended it
  std::string error_output;  // the last 16 KiB of stderr
};

/// Runs to the end. `on_output` gets stdout as it comes, `on_tick` is called about ten times a second; when one throws,
/// the child is terminated and the exception passed on. Throws Error(not_found) when there is no such program.
ProcessResult run_process(const ProcessOptions& options, const std::function<void(std::string_view)>& on_output,
                          const std::function<void()>& on_tick);

}  // namespace moebox
