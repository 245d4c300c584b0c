// Pulls one model and ends: what tests/hub/kill_test.cpp starts in order to kill.
//   pull_program STORE ENDPOINT MODEL [LARGEST_FILE_BYTES]
#include <cstdio>
#include <cstdlib>

#include <signal.h>
#include <sys/resource.h>

#include "base/error.h"
#include "hub/hub.h"

int main(int count, char** arguments) {
  if (count < 4) return 2;
  if (count > 4) {
    signal(SIGXFSZ, SIG_IGN);  // then write(2) fails with EFBIG, as it would with ENOSPC
    const rlimit limit{std::strtoull(arguments[4], nullptr, 10), std::strtoull(arguments[4], nullptr, 10)};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  try {
    moebox::HubOptions options;
    options.store = arguments[1];
    options.hf_endpoint = arguments[2];
    options.backoff_ms = 1;
    options.timeout_ms = 5000;
    std::puts(moebox::Hub(options).pull(arguments[3]).c_str());
    return 0;
  } catch (const moebox::Error& e) {
    std::puts(e.what());
    return 1;
  }
}
