#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test: in a release build, under the address and undefined-behaviour
# sanitizers, and in a build without CUDA; what runs threads also under the thread sanitizer. Last, where clang has libFuzzer,
# each fuzz target for two seconds. Can be run again; builds go on where they were.
# Usage: scripts/test.sh [PRESET...]   default: release debug tsan no-cuda fuzz
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
. scripts/path.sh
presets=("$@")
[ ${#presets[@]} -gt 0 ] || presets=(release debug tsan no-cuda fuzz)
jobs=$(nproc)
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1} UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

# What was left out, and why, from what the tests said.
skipped() { # preset
  local folder=build
  [ "$1" = release ] || folder=build-${1//-/}
  awk '/^[0-9]+\/[0-9]+ Testing: / { test = $3 }
    /^skipped: / { sub(/^skipped: /, ""); print "skipped: " test ": " $0 }
    /\.\.\. skipped / { sub(/.*\.\.\. skipped /, ""); print "skipped in part: " test ": " $0 }' "$folder/Testing/Temporary/LastTest.log" | sort | uniq
}

for preset in "${presets[@]}"; do
  if [ "$preset" = fuzz ]; then
    if scripts/fuzz.sh --check; then
      echo "== fuzz: two seconds of each target"
      scripts/fuzz.sh --seconds 2
    else
      echo "== fuzz: left out, there is no clang with libFuzzer; the tests above have replayed the corpora"
    fi
    continue
  fi
  echo "== $preset: configure and build"
  scripts/build.sh "$preset"
  echo "== $preset: test"
  only=()
  [ "$preset" = tsan ] && only=(-L threads)
  ctest --preset "$preset" -j "$jobs" --no-tests=error "${only[@]}"
  skipped "$preset"
done
