#!/usr/bin/env bash
# Installs what the build and the tests need from Debian's or Ubuntu's packages, and nothing that is there already.
# Usage: scripts/setup.sh [extra packages]
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(build-essential cmake ninja-build pkg-config libjansson-dev libpcre2-dev libcmocka-dev libbenchmark-dev python3 git ca-certificates "$@")

# A tool that came from elsewhere does as well as the package.
have_tool() {
  case $1 in
    cmake | git | python3) command -v "$1" ;;
    ninja-build) command -v ninja ;;
    *) false ;;
  esac >/dev/null
}

# A dot for every ten lines of apt-get that download, unpack or set up a package.
dots() {
  local line n=0
  while IFS= read -r line; do
    case $line in Get:* | Unpacking* | "Setting up"*) n=$((n + 1)) ;; *) continue ;; esac
    [ $((n % 10)) -ne 0 ] || printf .
  done
  [ "$n" -lt 10 ] || echo
}

wanted=()
for p in "${packages[@]}"; do
  have_tool "$p" || dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || wanted+=("$p")
done

if [ ${#wanted[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "setup: please install with your system's package manager (Debian's names): ${wanted[*]}" >&2
    exit 1
  fi
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "setup: run as root, or install sudo, to install: ${wanted[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  echo "setup: installing ${wanted[*]}; a dot for every ten steps"
  log=$(mktemp)
  if ! { "${as_root[@]}" apt-get -o Acquire::Retries=3 update &&
         "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install -y --no-install-recommends "${wanted[@]}"; } 2>&1 |
      tee "$log" | dots; then
    tail -n 20 "$log" >&2
    echo "setup: installing failed; the whole log is in $log" >&2
    exit 1
  fi
  rm -f "$log"
else
  echo "setup: everything needed is installed"
fi

# Older releases (Ubuntu 22.04) carry an older cmake than the presets need; there one from PyPI does.
cmake_version() { cmake --version | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p'; }
cmake_is_old() { [ "$(printf '%s\n3.25\n' "$(cmake_version)" | sort -V | head -n 1)" != 3.25 ]; }
. scripts/path.sh
if cmake_is_old; then
  if ! python3 -c 'import ensurepip' 2>/dev/null && [ "${1:-}" != python3-venv ]; then exec scripts/setup.sh python3-venv "$@"; fi
  echo "setup: cmake is $(cmake_version) and 3.25 is needed; installing a newer one into .venv-cmake"
  if ! { python3 -m venv .venv-cmake && .venv-cmake/bin/pip install --quiet --disable-pip-version-check 'cmake>=3.25,<4'; }; then
    rm -rf .venv-cmake
    echo "setup: that failed; check the network, or install a newer cmake, for example with: pipx install cmake" >&2
    exit 1
  fi
fi
