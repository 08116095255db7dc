#!/usr/bin/env bash
# Measures what results/accuracy holds: how far each backend's distributions are from the reference's over a text, and which operation
# is how far off. Needs no GPU: the CUDA kernels run on the virtual one, which takes a minute for nano and some five for smollm2.
# Usage: scripts/accuracy.sh [nano] [smollm2] [cuda]    default: nano
# smollm2 wants scripts/get_model.sh smollm2 first; cuda measures a real GPU in the virtual one's place.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- nano
. scripts/path.sh

# Builds in a folder of its own, so that what is measured is what is committed; who has done so names the program in PHI3.
if [ -z "${PHI3:-}" ]; then
  cmake --preset release -B build-results >/dev/null
  cmake --build build-results -j "$(nproc)" --target phi3 vgpu | tail -n 1
  PHI3=$PWD/build-results/phi3
fi
PATH=$(dirname "$PHI3"):$PATH
text=tests/goldens/perplexity/text.txt
bases=build-results/bases && mkdir -p "$bases"
trap 'rm -rf "$bases"' EXIT

# The base is double precision for nano, fp32 for larger models.
measure() { # model, name of the file, window, stride, precision of the base, options of the device
  local model=$1 name=$2 base=$bases/$1 windows=(--window "$3" --stride "$4") precision=$5
  shift 5
  [ -e "$base" ] || phi3 perplexity -m "$model" --device cpu --precision "$precision" "${windows[@]}" --save-base "$base" --base-top 0 "$text"
  phi3 perplexity -m "$model" "$@" --against "$base" --gate --json "results/accuracy/$model-$name.json"
}

drift() { # model, reference, device, bytes of the text
  head -c "$4" "$text" | phi3 compare -m "$1" --a "$2" --b "$3" --feed reference --json "results/accuracy/$1-$3-operations.json" \
    --heatmap "results/accuracy/$1-$3-operations.svg" -
}

mkdir -p results/accuracy
gpu=vgpu
for part in "$@"; do
  echo "accuracy: $part"
  case $part in
    cuda) gpu=cuda ;;
    nano)
      measure nano cpu 1024 512 fp64 --device cpu
      measure nano cpu-f16 1024 512 fp64 --device cpu --pages f16
      measure nano "$gpu" 1024 512 fp64 --device "$gpu"
      drift nano cpu:fp64 "$gpu" 1500
      ;;
    smollm2)
      # nano has run under all of the virtual GPU's checks; here they would only take time.
      VGPU_CHECK=${VGPU_CHECK:-off} measure smollm2 "$gpu" 1024 1024 fp32 --device "$gpu"
      drift smollm2 cpu "$gpu" 200
      ;;
    *) echo "accuracy: unknown part '$part'; it takes nano, smollm2, cuda" >&2 && exit 2 ;;
  esac
done
scripts/accuracy_table.py
