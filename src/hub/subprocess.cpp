#include "hub/subprocess.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

extern char** environ;

namespace moebox {
namespace {

constexpr std::size_t max_error_bytes = 16u << 10;

struct Descriptor {
  int fd = -1;

  Descriptor() = default;
  explicit Descriptor(int value) : fd(value) {}
  ~Descriptor() { reset(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void reset() {
    if (fd >= 0) close(fd);
    fd = -1;
  }
};

struct Pipe {
  Descriptor read_end, write_end;

  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw Error(ErrorKind::io, fmt::format("no pipe: {}", std::strerror(errno)));
    read_end.fd = ends[0];
    write_end.fd = ends[1];
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
  }
};

/// The child until it is reaped; destruction ends it.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (reaped_) return;
    kill(pid_, SIGTERM);
    for (int i = 0; i < 40 && !try_reap(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (reaped_) return;
    kill(pid_, SIGKILL);
    while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
  }

  bool try_reap() {
    if (!reaped_) reaped_ = waitpid(pid_, &status_, WNOHANG) == pid_;
    return reaped_;
  }
  int exit_code() const { return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_); }

 private:
  pid_t pid_;
  int status_ = 0;
  bool reaped_ = false;
};

struct SpawnActions {
  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};

  SpawnActions() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnActions() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
};

std::vector<std::string> child_environment(const ProcessOptions& options) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    bool replaced = false;
    for (const auto& [key, value] : options.environment) replaced |= text.starts_with(key + "=");
    if (!replaced) result.emplace_back(text);
  }
  for (const auto& [key, value] : options.environment) result.push_back(key + "=" + value);
  return result;
}

std::vector<char*> as_argv(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& text : strings) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

pid_t spawn(const ProcessOptions& options, const Pipe& output, const Pipe& errors) {
  std::vector<std::string> arguments = options.arguments, environment = child_environment(options);
  SpawnActions spawn_actions;
  auto* actions = &spawn_actions.actions;
  posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(actions, output.write_end.fd, 1);
  posix_spawn_file_actions_adddup2(actions, errors.write_end.fd, 2);
  // Descriptor 3 may be one of the pipes; those have been duplicated by now.
  if (options.inherited_fd >= 0) posix_spawn_file_actions_adddup2(actions, options.inherited_fd, 3);
  if (!options.folder.empty()) posix_spawn_file_actions_addchdir_np(actions, options.folder.c_str());
  // A caller that ignores SIGPIPE or blocks signals must not make the child do so.
  sigset_t defaults, none;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&spawn_actions.attributes, &defaults);
  posix_spawnattr_setsigmask(&spawn_actions.attributes, &none);
  posix_spawnattr_setflags(&spawn_actions.attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);

  pid_t pid = 0;
  const int error = posix_spawnp(&pid, arguments.at(0).c_str(), actions, &spawn_actions.attributes,
                                 as_argv(arguments).data(), as_argv(environment).data());
  if (error != 0) {
    throw Error(error == ENOENT ? ErrorKind::not_found : ErrorKind::io,
                fmt::format("{} cannot be started: {}", options.arguments[0], std::strerror(error)));
  }
  return pid;
}

/// Hands over what is in the pipe now, of a child that writes without end only a part; closes the pipe at its end.
template <class Use>
void drain(Descriptor& pipe, Use&& use) {
  char buffer[1 << 16];
  for (int round = 0; round < 64 && pipe.fd >= 0; ++round) {
    const ssize_t count = read(pipe.fd, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
      pipe.reset();
      return;
    }
    use(std::string_view(buffer, static_cast<std::size_t>(count)));
  }
}

}  // namespace

ProcessResult run_process(const ProcessOptions& options, const std::function<void(std::string_view)>& on_output,
                          const std::function<void()>& on_tick) {
  Pipe output, errors;
  Child child(spawn(options, output, errors));
  output.write_end.reset();
  errors.write_end.reset();

  ProcessResult result;
  const auto keep_error = [&](std::string_view text) {
    result.error_output += text;
    if (result.error_output.size() > 2 * max_error_bytes)
      result.error_output.erase(0, result.error_output.size() - max_error_bytes);
  };
  auto next_tick = std::chrono::steady_clock::now();
  while (true) {
    // A grandchild may hold the pipes longer than the child lives: the child's end is the end.
    const bool ended = child.try_reap();
    drain(output.read_end, on_output);
    drain(errors.read_end, keep_error);
    if (ended) break;
    if (std::chrono::steady_clock::now() >= next_tick) {
      on_tick();
      next_tick = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
    }
    pollfd waiting[2] = {{output.read_end.fd, POLLIN, 0}, {errors.read_end.fd, POLLIN, 0}};  // poll passes over -1
    poll(waiting, 2, 50);
  }
  if (result.error_output.size() > max_error_bytes)
    result.error_output.erase(0, result.error_output.size() - max_error_bytes);
  result.exit_code = child.exit_code();
  return result;
}

}  // namespace moebox
