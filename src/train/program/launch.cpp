#include "train/program/launch.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>
#include <thread>

#include <CLI/App.hpp>
#include <arpa/inet.h>
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/exit_code.h"
#include "cli/interrupts.h"
#include "train/gloo_world.h"

namespace moebox::train {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto time_to_stop = std::chrono::seconds(15), time_to_end = std::chrono::seconds(5);

int count_devices(const std::string& list) {
  std::set<int> devices;
  const char *at = list.data(), *end = at + list.size();
  for (bool more = true; more;) {
    int device = -1;
    const auto [rest, problem] = std::from_chars(at, end, device);
    if (problem != std::errc() || device < 0 || (rest != end && *rest != ',') || !devices.insert(device).second)
      throw Error(ErrorKind::invalid_argument, fmt::format("expected different numbers like 0,1, found '{}'", list),
                  "--devices", "on processors each number is one process");
    more = rest != end;
    at = rest + 1;
  }
  return static_cast<int>(devices.size());
}

std::vector<std::string> without_devices(const std::vector<std::string>& arguments) {
  std::vector<std::string> kept;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--devices") {
      ++i;
    } else if (!arguments[i].starts_with("--devices=")) {
      kept.push_back(arguments[i]);
    }
  }
  return kept;
}

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  const bool found = fd >= 0 && ::bind(fd, generic, size) == 0 && ::getsockname(fd, generic, &size) == 0;
  const int problem = errno;
  if (fd >= 0) ::close(fd);
  if (!found) throw Error(ErrorKind::io, std::strerror(problem), "a free port on 127.0.0.1");
  return ntohs(address.sin_port);
}

struct Process {
  pid_t id = -1;
  std::optional<int> status{};  // since it has ended
};

class Ranks {
 public:
  Ranks(int n, const std::vector<std::string>& arguments) {
    const std::string port = std::to_string(free_port());
    for (int rank = 0; rank < n; ++rank) start(rank, n, port, arguments);
  }
  ~Ranks() {
    signal_all(SIGKILL);
    for (Process& process : processes_)
      if (!process.status) ::waitpid(process.id, nullptr, 0);
  }
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  void look() {
    for (std::size_t rank = 0; rank < processes_.size(); ++rank) {
      Process& process = processes_[rank];
      int status = 0;
      if (process.status || ::waitpid(process.id, &status, WNOHANG) != process.id) continue;
      process.status = status;
      if (status != 0 && failed_ == none) failed_ = rank;
    }
  }
  bool are_done() const {
    return std::ranges::all_of(processes_, [](const Process& process) { return process.status.has_value(); });
  }
  bool has_failed() const { return failed_ != none; }
  /// The rank that failed first.
  std::size_t failed() const { return failed_; }
  int status(std::size_t rank) const { return *processes_[rank].status; }
  void signal_all(int number) const {
    for (const Process& process : processes_)
      if (process.id > 0 && !process.status) ::kill(process.id, number);
  }

 private:
  void start(int rank, int n, const std::string& port, const std::vector<std::string>& arguments) {
    const pid_t parent = ::getpid(), child = ::fork();
    if (child < 0) throw Error(ErrorKind::io, std::strerror(errno), fmt::format("process {} of {}", rank, n));
    if (child > 0) {
      processes_.push_back({child});
      return;
    }
    // Nobody is left behind when this process is killed.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(cli::exit_io);
    const auto set = [](const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); };
    set("RANK", std::to_string(rank));
    set("LOCAL_RANK", std::to_string(rank));
    set("WORLD_SIZE", std::to_string(n));
    set("LOCAL_WORLD_SIZE", std::to_string(n));
    set("MASTER_ADDR", "127.0.0.1");
    set("MASTER_PORT", port);
    const unsigned threads = std::max(1U, std::thread::hardware_concurrency() / static_cast<unsigned>(n));
    ::setenv("OMP_NUM_THREADS", std::to_string(threads).c_str(), 0);
    std::vector<std::string> words = arguments;
    words.insert(words.begin(), "moebox-train");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv("/proc/self/exe", argv.data());
    ::_exit(cli::exit_io);
  }

  static constexpr std::size_t none = SIZE_MAX;

  std::vector<Process> processes_;
  std::size_t failed_ = none;
};

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

void add_devices(CLI::App* verb, const std::shared_ptr<Devices>& devices) {
  verb->add_option("--devices", devices->list, "0,1 starts two processes that work together [this one alone]")
      ->type_name("LIST");
}

int launch_ranks(const cli::Context& context, const Devices& devices) {
  const int n = count_devices(devices.list);
  cli::InterruptGuard interrupts;
  Ranks ranks(n, without_devices(context.arguments));
  std::optional<Clock::time_point> failed_at;
  int asked = 0;  // how firmly the others were asked to end
  for (ranks.look(); !ranks.are_done(); ranks.look()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (interrupts.take()) ranks.signal_all(SIGINT);
    if (!ranks.has_failed()) continue;
    if (!failed_at) failed_at = Clock::now();
    const auto since = Clock::now() - *failed_at;
    if (asked == 0 && since > time_to_stop) ranks.signal_all((++asked, SIGTERM));
    if (asked == 1 && since > time_to_stop + time_to_end) ranks.signal_all((++asked, SIGKILL));
  }
  if (!ranks.has_failed()) return cli::exit_ok;
  const int status = ranks.status(ranks.failed());
  if (WIFSIGNALED(status))
    context.console.note(fmt::format("rank {} of {} was ended by signal {} ({})\n", ranks.failed(), n, WTERMSIG(status),
                                     ::strsignal(WTERMSIG(status))));
  return code_of(status);
}

std::shared_ptr<World> join_ranks(int timeout_seconds) {
  const std::optional<WorldPlace> place = read_place();
  return place ? join_world(*place, std::chrono::seconds(timeout_seconds)) : make_world_of_one();
}

}  // namespace moebox::train
