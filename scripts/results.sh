#!/usr/bin/env bash
# Measures and estimates what results/ holds, and renders it. Wants an idle machine and a clean checkout: the commit is written down.
# Usage: scripts/results.sh [PART...]    default: nano smollm2 phi3-mini t4 kernels accuracy, all that needs no GPU
#   nano, smollm2   phi3 bench on the CPU; smollm2 is downloaded (scripts/get_model.sh)
#   phi3-mini       the same on two random layers of Phi-3-mini's shape
#   t4              Phi-3-mini on a Tesla T4, estimated by the virtual GPU; needs nvcc
#   kernels         each kernel on a Tesla T4, estimated; needs nvcc and Google Benchmark
#   accuracy        perplexity and divergence (scripts/accuracy.sh)
#   cuda            on this machine's GPU: Phi-3-mini (random weights where the model is not there) and each kernel, measured
#   transformers    decoding beside Hugging Face transformers; installs PyTorch into .venv
#   report          only renders (scripts/report)
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- nano smollm2 phi3-mini t4 kernels accuracy

# Builds in a folder of its own, so that what is measured is what is committed.
build() {
  scripts/setup.sh >/dev/null
  cmake --preset release -B build-results >/dev/null
  cmake --build build-results -j "$(nproc)" | tail -n 1
}
phi3=build-results/phi3
scratch=

bench() { # name, options
  local name=$1
  shift
  "$phi3" bench --json "results/$name.json" "$@"
}

# A checkpoint of random weights, found by its name until the script ends.
random_model() { # name, options of phi3 synth
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/phi3-results.XXXXXX")
  trap 'rm -rf "$scratch"' EXIT # of the subshell that asked for it
  "$phi3" synth "${@:2}" "$scratch/$1"
  export PHI3_MODELS=$scratch
}

no_kernels() { ! "$phi3" generate --device vgpu --ids 1 -n 1 >/dev/null 2>&1; }

kernel_bench() { # device, name
  if [ ! -x build-results/kernel_bench ]; then
    echo "results: kernels: no kernel_bench in this build; it needs libbenchmark-dev" >&2
    return
  fi
  build-results/kernel_bench --device "$1" --published --json "results/$2.json"
}

part() {
  case $1 in
    nano)
      bench nano
      "$phi3" bench --roof --json results/nano-roof.json
      ;;
    smollm2)
      scripts/get_model.sh smollm2
      bench smollm2 -m smollm2 --outputs 16,64 --sweep-seconds 300
      "$phi3" bench -m smollm2 --roof --json results/smollm2-roof.json
      ;;
    phi3-mini)
      (
        random_model phi-3-mini-2-layers --like phi-3-mini-4k --layers 2
        bench phi-3-mini-2-layers -m phi-3-mini-2-layers --runs 3 --no-sweep
      )
      ;;
    t4)
      if no_kernels; then echo "results: t4: this build has no kernels for the virtual GPU; it needs nvcc" >&2; return; fi
      bench t4-phi-3-mini --device vgpu --like phi-3-mini-4k --outputs 128 --sweep-seconds 420
      ;;
    kernels)
      if no_kernels; then echo "results: kernels: this build has no kernels for the virtual GPU; it needs nvcc" >&2; return; fi
      kernel_bench vgpu t4-kernels
      ;;
    accuracy) if [ -x scripts/accuracy.sh ]; then scripts/accuracy.sh; else echo "results: accuracy: there is no scripts/accuracy.sh" >&2; fi ;;
    cuda)
      (
        model=phi-3-mini-4k-instruct
        if ! "$phi3" inspect -m "$model" >/dev/null 2>&1; then
          model=phi-3-mini-random
          random_model "$model" --like phi-3-mini-4k
        fi
        bench cuda-phi-3-mini --device cuda -m "$model" --sweep-seconds 600
      )
      kernel_bench cuda cuda-kernels
      ;;
    transformers) PHI3=$phi3 scripts/compare_hf.sh -o results/smollm2-transformers.json ;;
    report) ;;
    *) echo "results: unknown part '$1'; see the head of scripts/results.sh" >&2 && exit 2 ;;
  esac
}

for p in "$@"; do [ "$p" = report ] || { build && break; }; done
for p in "$@"; do
  began=$SECONDS
  echo "results: $p"
  part "$p"
  echo "results: $p took $((SECONDS - began)) s"
done
scripts/report
