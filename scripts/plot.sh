#!/usr/bin/env bash
# Draws time against length, with the cache and without, from what phi3 bench --json wrote.
# Usage: scripts/plot.sh BENCH.json [PLOT.svg]    default: beside the JSON, with .svg in place of .json
set -euo pipefail
case ${1:-} in
  -h | --help) sed -n '2,3s/^# //p' "$0" && exit 0 ;;
esac
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  sed -n '3s/^# //p' "$0" >&2
  exit 2
fi
command -v python3 >/dev/null || { echo "plot: python3 is needed; scripts/setup.sh installs it" >&2; exit 1; }
out=${2:-${1%.json}.svg}
python3 "$(dirname "$0")/report" --plot "$1" -o "$out"
echo "plot: $out"
