#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test: in a release build, and under the address and undefined-behaviour
# sanitizers; what runs threads also under the thread sanitizer. Can be run again; builds go on where they were.
# Usage: scripts/test.sh [PRESET...]   default: release debug tsan
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
presets=("$@")
[ ${#presets[@]} -gt 0 ] || presets=(release debug tsan)
jobs=$(nproc)
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1} UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

for preset in "${presets[@]}"; do
  echo "== $preset: configure and build"
  scripts/build.sh "$preset"
  echo "== $preset: test"
  only=()
  [ "$preset" = tsan ] && only=(-L threads)
  ctest --preset "$preset" -j "$jobs" --no-tests=error "${only[@]}"
done
