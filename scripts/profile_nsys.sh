#!/usr/bin/env bash
# Nsight Systems on phi3: a timeline of steps, layers and operations with their kernels, and tables of it. How to read them: scripts/PROFILING.md.
# Usage: scripts/profile_nsys.sh [options] [-- COMMAND...]      --help shows the options
set -euo pipefail
cd "$(dirname "$0")/.."
self=profile_nsys
. scripts/profile_common.sh

help() {
  cat <<'TEXT'
Usage: scripts/profile_nsys.sh [options] [-- COMMAND...]

Records COMMAND with Nsight Systems (nsys) on a real GPU, and prints where the time went: kernels, ranges, driver calls.
Default command: phi3 generates 32 tokens after a prompt of 64.

Options:
  --phase NAME    tables of the prefill or of the decode steps alone (of the default command)
  --range NAME    the same for any NVTX range, for example "decode 4", "prefill 512"
  --kernel REGEX  print only table lines in which this stands
  --model MODEL   of the default command (default nano)
  -o FILE         write FILE.nsys-rep, for nsys-ui (default phi3)
  --print         show the command lines, and run nothing
  -h, --help      this text

Examples:
  scripts/profile_nsys.sh -m phi-3-mini-4k-instruct --phase decode
  scripts/profile_nsys.sh -o batch --range "decode 4" -- build/phi3 bench --device cuda --batches 4
  scripts/profile_nsys.sh --print --kernel attention
TEXT
}

tokens=64 phase= range= kernel= model=nano out=phi3 print=no command=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) help && exit 0 ;;
    --print) print=yes && shift && continue ;;
    --) shift && command=("$@") && break ;;
    --phase | --range | --kernel | --model | -m | -o) ;;
    *) fail 2 "there is no option '$1'; see scripts/profile_nsys.sh --help" ;;
  esac
  [ $# -ge 2 ] || fail 2 "$1 needs a value; see scripts/profile_nsys.sh --help"
  case $1 in --phase) phase=$2 ;; --range) range=$2 ;; --kernel) kernel=$2 ;; --model | -m) model=$2 ;; -o) out=$2 ;; esac
  shift 2
done

take_phase
[ ${#command[@]} -gt 0 ] || command=(build/phi3 generate --device cuda -m "$model" --ids "$(seq -s ' ' 1 $tokens)" -n 32 --ignore-end)

# A decode step is one graph: without --cuda-graph-trace=node its kernels are one bar.
record=(nsys profile --trace=cuda,nvtx --cuda-graph-trace=node --sample=none --cpuctxsw=none --force-overwrite=true --output="$out" "${command[@]}")
tables=(nsys stats --force-export=true --report cuda_gpu_kern_sum --report nvtx_sum --report cuda_api_sum)
[ -z "$range" ] || tables+=(--filter-nvtx "$range")
tables+=("$out.nsys-rep")

if [ "$print" = yes ]; then
  printf '%q ' "${record[@]}" && echo
  printf '%q ' "${tables[@]}" && echo
  exit 0
fi
need nsys "Nsight Systems (Debian's and Ubuntu's package of NVIDIA's: nsight-systems)" "phi3 profile --device vgpu --timeline FILE estimates a timeline without one"
"${record[@]}" || fail 1 "nsys failed; what it said stands above"
if [ -n "$kernel" ]; then "${tables[@]}" | grep -E -e "$kernel|Total Time|^ *-|^ \*\*" || fail 1 "no line of the tables holds '$kernel'"
else "${tables[@]}"; fi
