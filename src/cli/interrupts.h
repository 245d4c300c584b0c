// Ctrl-C and its kin, as something that can be polled. Signal handlers know only static data, so there is one per
// process.
#pragma once

namespace moebox::cli {

/// While one lives, SIGINT is counted instead of ending the program. Make one at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// Readable when there was one; for poll().
  int fd() const noexcept;
  /// True when there was one since the last call.
  bool take() noexcept;
};

/// Puts the terminal on stdin back as it was when the program is ended by SIGTERM, SIGHUP or SIGQUIT, and at exit.
/// `saved` is a termios that lives as long as the program.
void restore_terminal_at_end(const void* saved) noexcept;

}  // namespace moebox::cli
