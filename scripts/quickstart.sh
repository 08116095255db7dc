#!/usr/bin/env bash
# From a fresh clone to text: installs what is missing, builds, lets the bundled model write with the key-value cache and without, times
# and plots both, and names the files it wrote. Can be run again.
# Usage: scripts/quickstart.sh
set -euo pipefail
cd "$(dirname "$0")/.."

echo "[1/4] What the build needs"
scripts/setup.sh
echo "[2/4] Build (release, into build/)"
scripts/build.sh release -DPHI3_WERROR=OFF -- --target phi3
phi3=build/phi3
out=build/quickstart
mkdir -p "$out"

prompt="The capital of France is"
echo "[3/4] The bundled model writes"
echo
echo "\$ phi3 generate -p \"$prompt\" -n 24 --full-text            (with the key-value cache)"
"$phi3" generate -p "$prompt" -n 24 --full-text | tee "$out/cached.txt"
echo
echo "\$ phi3 generate -p \"$prompt\" -n 24 --full-text --no-cache (without)"
"$phi3" generate -p "$prompt" -n 24 --full-text --no-cache | tee "$out/uncached.txt"
cmp -s "$out/cached.txt" "$out/uncached.txt" || { echo "quickstart: the two texts differ, which must not be" >&2; exit 1; }
echo
echo "[4/4] Timed: 100 new tokens, 7 runs each, same ids checked first"
"$phi3" bench --json "$out/bench.json"
scripts/plot.sh "$out/bench.json" >/dev/null
echo
echo "Written: $out/cached.txt $out/uncached.txt $out/bench.json $out/bench.svg (a plot of it)"
echo "More to try:   $phi3 trace -p \"$prompt\"      $phi3 chat      $phi3 --help"
echo "A larger model: scripts/get_model.sh smollm2 && $phi3 generate -m smollm2 -p \"$prompt\" -n 8"
