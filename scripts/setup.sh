#!/usr/bin/env bash
# Installs what the build and the tests need from Debian's or Ubuntu's packages, and nothing that is there already.
# Usage: scripts/setup.sh [extra packages]
set -euo pipefail

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

# Older releases carry an older cmake than the presets need.
have=$(cmake --version | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p')
if [ "$(printf '%s\n3.25\n' "$have" | sort -V | head -n 1)" != 3.25 ]; then
  echo "setup: cmake is $have and 3.25 is needed; install a newer one, for example with: pipx install cmake" >&2
  exit 1
fi
