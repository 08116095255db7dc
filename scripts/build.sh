#!/usr/bin/env bash
# Configures a preset and builds it: with the build's own running line on a terminal, elsewhere with its last line only, or, when it
# fails, with what it said.
# Usage: scripts/build.sh PRESET [-DNAME=VALUE...] [-- ARGUMENTS of cmake --build...]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/path.sh

preset=$1
shift
settings=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  settings+=("$1")
  shift
done
[ $# -eq 0 ] || shift

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cmake --preset "$preset" "${settings[@]}" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
if [ -t 1 ]; then
  cmake --build --preset "$preset" -j "$(nproc)" "$@"
  exit
fi
if ! cmake --build --preset "$preset" -j "$(nproc)" "$@" >"$log" 2>&1; then
  grep -v '^\[[0-9]*/[0-9]*\]' "$log" | tail -n 60 >&2
  exit 1
fi
tail -n 1 "$log"
