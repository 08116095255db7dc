#!/usr/bin/env bash
# Measures and estimates what results/ holds, and renders it. Wants an idle machine and a clean checkout: the commit is written down.
# Usage: scripts/results.sh [PART...]    default: nano smollm2 phi3-mini t4 profile kernels accuracy, all that needs no GPU
#   nano, smollm2   phi3 bench on the CPU; smollm2 is downloaded (scripts/get_model.sh)
#   phi3-mini       the same on two random layers of Phi-3-mini's shape
#   t4              Phi-3-mini on a Tesla T4, estimated by the virtual GPU; needs nvcc
#   profile         where its time goes, kernel by kernel, estimated; needs nvcc
#   kernels         each kernel on a Tesla T4, estimated; needs nvcc and Google Benchmark
#   accuracy        perplexity and divergence of nano and smollm2 on the virtual GPU (scripts/accuracy.sh); needs nvcc
#   cuda            on this machine's GPU: Phi-3-mini (random weights where the model is not there) and each kernel, measured
#   transformers    decoding beside Hugging Face transformers; installs PyTorch into .venv
#   report          only renders (scripts/report)
# What is timed runs alone, part after part. What the virtual GPU makes does not hang on the machine's load: t4, profile, kernels and
# accuracy then run side by side, each with a log in build-results/logs. A part that fails is named in the end, and the exit code is 1.
set -euo pipefail
cd "$(dirname "$0")/.."

build="build-results" # a folder of its own, so that what is measured is what is committed
phi3=$build/phi3
logs=$build/logs
export PHI3=$PWD/$phi3 # for the scripts that are called: the commit must not be looked up again once results change

bench() { # name, options
  local name=$1
  shift
  "$phi3" bench --json "results/$name.json" "$@"
}

# A checkpoint of random weights, found by its name until the part ends.
random_model() { # name, options of phi3 synth
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/phi3-results.XXXXXX")
  trap 'rm -rf "$scratch"' EXIT # of the part's shell
  "$phi3" synth "${@:2}" "$scratch/$1"
  export PHI3_MODELS=$scratch
}

kernel_bench() { # device, name
  "$build/kernel_bench" --device "$1" --published --json "results/$2.json"
}

part() {
  case $1 in
    nano)
      bench nano
      "$phi3" bench --roof --json results/nano-roof.json
      ;;
    smollm2)
      bench smollm2 -m smollm2 --outputs 16 --sweep-runs 2 --sweep-seconds 400
      "$phi3" bench -m smollm2 --roof --json results/smollm2-roof.json
      ;;
    phi3-mini)
      random_model phi-3-mini-2-layers --like phi-3-mini-4k --layers 2
      bench phi-3-mini-2-layers -m phi-3-mini-2-layers --runs 3 --no-sweep
      ;;
    t4) bench t4-phi-3-mini --device vgpu --like phi-3-mini-4k --outputs 128 --sweep-seconds 3600 ;;
    profile) "$phi3" profile --device vgpu --like phi-3-mini-4k --memory t4_eff --prompt-tokens 512 --json results/t4-profile.json ;;
    kernels) kernel_bench vgpu t4-kernels ;;
    accuracy) scripts/accuracy.sh nano smollm2 ;;
    cuda)
      local model=phi-3-mini-4k-instruct
      if ! "$phi3" inspect -m "$model" >/dev/null 2>&1; then
        model=phi-3-mini-random
        random_model "$model" --like phi-3-mini-4k
      fi
      bench cuda-phi-3-mini --device cuda -m "$model" --sweep-seconds 600
      if [ -x "$build/kernel_bench" ]; then kernel_bench cuda cuda-kernels; else echo "results: kernels: left out, as above"; fi
      ;;
    transformers) scripts/compare_hf.sh -o results/smollm2-transformers.json ;;
  esac
}

# Everything that may ask for a password or fetch something comes before the parts.
prepare() {
  scripts/setup.sh
  . scripts/path.sh
  cmake --preset release -B "$build" >/dev/null
  local targets=(phi3 vgpu)
  if cmake --build "$build" --target help | grep kernel_bench >/dev/null; then targets+=(kernel_bench)
  else echo "results: there is no Google Benchmark (libbenchmark-dev); the kernels' table is left out" >&2; fi
  cmake --build "$build" -j "$(nproc)" --target "${targets[@]}" | tail -n 1
  mkdir -p "$logs"
  rm -f "$logs"/*
  case " $* " in *" smollm2 "* | *" accuracy "*) scripts/get_model.sh smollm2 ;; esac
}

# The part's seconds go to a file, its word to fd 3, past the log.
run() { # part
  local began=$SECONDS code
  (set -e && part "$1")
  code=$?
  echo $((SECONDS - began)) >"$logs/$1.seconds"
  [ "$code" -eq 0 ] || touch "$logs/$1.failed"
  echo "results: $1 $([ "$code" -eq 0 ] && echo took || echo FAILED after) $((SECONDS - began)) s" >&3
}

jobs=()
stop() {
  trap - INT TERM HUP
  mapfile -t jobs < <(jobs -p) # one may have begun that is not in the list yet
  for job in "${jobs[@]}"; do kill -- "-$job" 2>/dev/null || true; done
  if [ ${#jobs[@]} -gt 0 ]; then sleep 1; fi # phi3 ends by itself after its pass, which may take minutes
  for job in "${jobs[@]}"; do kill -KILL -- "-$job" 2>/dev/null || true; done
  wait
  echo "results: interrupted; the parts that were under way wrote nothing" >&2
  exit 130
}

summary() { # parts
  local p failed=() text=
  for p in "$@"; do
    [ ! -e "$logs/$p.seconds" ] || text+=", $p $(cat "$logs/$p.seconds") s"
    [ ! -e "$logs/$p.failed" ] || failed+=("$p")
  done
  echo "results: $((SECONDS / 60)) min $((SECONDS % 60)) s in all: build $build_seconds s$text"
  [ ${#failed[@]} -eq 0 ] && return
  echo "results: failed: ${failed[*]}; what they said stands above or in $logs" >&2
  return 1
}

case ${1:-} in -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" && exit 0 ;; esac
[ $# -gt 0 ] || set -- nano smollm2 phi3-mini t4 profile kernels accuracy
timed=() virtual=()
for p in "$@"; do
  case $p in
    nano | smollm2 | phi3-mini | cuda | transformers) timed+=("$p") ;;
    t4 | profile | kernels | accuracy) virtual+=("$p") ;;
    report) ;;
    *) echo "results: unknown part '$p'; see scripts/results.sh --help" >&2 && exit 2 ;;
  esac
done
if [ ${#timed[@]} -eq 0 ] && [ ${#virtual[@]} -eq 0 ]; then exec scripts/report; fi

prepare "$@"
build_seconds=$SECONDS
exec 3>&1
trap stop INT TERM HUP
set +e # a part that fails is told of, and does not stop the others
for p in "${timed[@]}"; do
  echo "results: $p"
  run "$p"
done

if [ ${#virtual[@]} -gt 0 ] && ! why=$("$phi3" generate --device vgpu --ids 1 -n 1 2>&1 >/dev/null); then
  echo "results: left out: ${virtual[*]}; $why" >&2
  virtual=()
fi
for p in "${virtual[@]}"; do
  if [ "$p" = kernels ] && [ ! -x "$build/kernel_bench" ]; then continue; fi
  echo "results: $p, beside the others; it writes to $logs/$p.log"
  set -m # a process group of its own, to be ended as one; t4 and kernels take longest, mostly with one thread, and go before the others
  { [ "$p" = t4 ] || [ "$p" = kernels ] || renice -n 10 -p "$BASHPID" >/dev/null; run "$p"; } >"$logs/$p.log" 2>&1 &
  jobs+=($!)
  set +m
done
wait "${jobs[@]}"
for p in "${virtual[@]}"; do
  [ ! -e "$logs/$p.failed" ] || tail -n 5 "$logs/$p.log" >&2
done

scripts/report && summary "${timed[@]}" "${virtual[@]}"
