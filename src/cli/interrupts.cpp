#include "cli/interrupts.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include "base/error.h"

namespace moebox::cli {
namespace {

std::atomic<int> pipe_read{-1}, pipe_write{-1};
struct sigaction previous_interrupt;
std::atomic<const termios*> saved_terminal{nullptr};

extern "C" void on_interrupt(int) {
  const int saved_errno = errno;
  const char byte = 1;
  // A full pipe has been told already.
  [[maybe_unused]] const ssize_t n = ::write(pipe_write.load(std::memory_order_relaxed), &byte, 1);
  errno = saved_errno;
}

void put_terminal_back() {
  if (const termios* saved = saved_terminal.load()) ::tcsetattr(STDIN_FILENO, TCSANOW, saved);
}

extern "C" void on_end(int signal) {
  put_terminal_back();
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw Error(ErrorKind::io, std::string("a pipe could not be made: ") + std::strerror(errno));
  }
  pipe_read = ends[0];
  pipe_write = ends[1];
  struct sigaction action{};
  action.sa_handler = on_interrupt;  // no SA_RESTART: a blocked read ends
  ::sigaction(SIGINT, &action, &previous_interrupt);
}

InterruptGuard::~InterruptGuard() {
  ::sigaction(SIGINT, &previous_interrupt, nullptr);
  ::close(pipe_read.exchange(-1));
  ::close(pipe_write.exchange(-1));
}

int InterruptGuard::fd() const noexcept { return pipe_read; }

bool InterruptGuard::take() noexcept {
  bool any = false;
  char bytes[64];
  while (::read(pipe_read, bytes, sizeof bytes) > 0) any = true;
  return any;
}

void restore_terminal_at_end(const void* saved) noexcept {
  if (saved_terminal.exchange(static_cast<const termios*>(saved)) != nullptr) return;
  std::atexit(put_terminal_back);
  for (const int signal : {SIGTERM, SIGHUP, SIGQUIT}) {
    struct sigaction action{};
    action.sa_handler = on_end;
    ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace moebox::cli
