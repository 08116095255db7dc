#!/usr/bin/env bash
# Measures what results/ holds, on this machine, and draws it. Wants an idle machine and a clean checkout: the commit is written down.
# Usage: scripts/results.sh [nano] [smollm2] [transformers]    default: nano smollm2
# smollm2 wants scripts/get_model.sh smollm2 first; transformers installs PyTorch into .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- nano smollm2

# Builds in a folder of its own, so that what is measured is what is committed.
cmake --preset release -B build-results >/dev/null
cmake --build build-results -j "$(nproc)" --target phi3 | tail -n 1
phi3=build-results/phi3

measure() { # model, further options
  local model=$1
  shift
  "$phi3" bench -m "$model" --json "results/$model.json" "$@" | tee "results/$model.txt"
  "$phi3" bench -m "$model" --roof --json "results/$model-roof.json" | tee "results/$model-roof.txt"
  scripts/plot.sh "results/$model.json" -o "results/$model.svg"
}

for part in "$@"; do
  echo "results: $part"
  case $part in
    nano) measure nano ;;
    smollm2) measure smollm2 --outputs 16,64 --sweep-seconds 600 ;;
    transformers)
      PHI3=$phi3 scripts/compare_hf.sh -o results/smollm2-transformers.json | tee results/smollm2-transformers.txt
      ;;
    *) echo "results: unknown part '$part'; it takes nano, smollm2, transformers" >&2 && exit 2 ;;
  esac
done
scripts/results_table.py
