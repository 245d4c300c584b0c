#!/bin/sh
# Runs every fuzz target that is built (cmake --preset fuzz; ninja -C build/fuzz), each for SECONDS, from its corpus.
# Usage: [PRESET=fuzz] fuzz/run.sh SECONDS [TARGET ...]. PRESET names the build folder: fuzz, or asan, which is slower.
# Fails on a crash, a leak, an input slower than 10 s, or more than 2 GiB of memory; the input that shows it is kept in
# the build folder's findings/. New inputs that reach new code stay in its corpus/.
set -eu
seconds=${1:?"usage: fuzz/run.sh SECONDS [TARGET ...]"}
shift
here=$(cd "$(dirname "$0")" && pwd)
preset=${PRESET:-fuzz}
build=$here/../build/$preset
mkdir -p "$build/findings"
[ $# -gt 0 ] || set -- $(cd "$build/fuzz" && ls -d fuzz_* 2>/dev/null | sed -n 's/^fuzz_//p')
[ $# -gt 0 ] || { echo "no fuzz target is built: cmake --preset $preset && ninja -C build/$preset" >&2; exit 1; }

failed=
for name in "$@"; do
  program=$build/fuzz/fuzz_$name
  [ -x "$program" ] || { echo "no such program: $program" >&2; exit 1; }
  grown=$build/corpus/$name
  mkdir -p "$grown"
  set --
  [ -d "$here/corpus/$name" ] && set -- "$here/corpus/$name"
  [ -f "$here/$name.dict" ] && set -- "$@" "-dict=$here/$name.dict"
  echo "== $name: $seconds s"
  if ! nice "$program" "$grown" "$@" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
       -verbosity=1 -artifact_prefix="$build/findings/$name-" > "$build/findings/$name.log" 2>&1; then
    failed="$failed $name"
    tail -n 60 "$build/findings/$name.log"
  fi
  grep -E '^(stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)|Done)' "$build/findings/$name.log" || true
done
[ -z "$failed" ] || { echo "findings in:$failed" >&2; exit 1; }
