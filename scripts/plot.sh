#!/usr/bin/env bash
# Draws the figures of `phi3 bench --json FILE`; installs Debian's python3-matplotlib when there is none.
# Usage: scripts/plot.sh FILE.json -o OUT.svg (or .png, .pdf)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

find_python() {
  for python in python3 /usr/bin/python3; do
    if command -v "$python" >/dev/null && "$python" -c 'import matplotlib' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  return 1
}

if ! python=$(find_python); then
  "$here/setup.sh" python3-matplotlib >&2
  python=$(find_python) || { echo "plot: python3-matplotlib is installed, but no python3 finds it" >&2; exit 1; }
fi
exec "$python" "$here/plot.py" "$@"
