#!/usr/bin/env bash
# Nsight Compute on phi3's kernels: ready sets of sections, one kernel, or one phase by its NVTX range. How to read what comes out: scripts/PROFILING.md.
# Usage: scripts/profile_ncu.sh [options] [-- COMMAND...]      --help shows the options
set -euo pipefail
cd "$(dirname "$0")/.."
self=profile_ncu
. scripts/profile_common.sh

help() {
  cat <<'TEXT'
Usage: scripts/profile_ncu.sh [options] [-- COMMAND...]

Profiles COMMAND's launches with Nsight Compute (ncu) on a real GPU. Default command: phi3 profile, a prompt of 64 tokens and two decode steps.

Options:
  --set NAME        what is collected (default: speed)
                      speed     time, DRAM bytes, share of each peak, launch, occupancy: two or three passes a kernel
                      memory    speed, and sectors, L1, L2, shared memory with its bank conflicts
                      compute   speed, and pipes (tensor among them), issue slots, why warps wait
                      roofline  speed, and the roofline charts
                      full      everything ncu knows, with source lines: slow
  --kernel REGEX    only kernels of this name, for example decode_silu (names begin with phi3_)
  --phase NAME      only launches of the prefill, or of decode steps (of the default command)
  --range NAME      the same for any NVTX range, for example "decode 4", "prefill 512"
  --operation NAME  only launches within attention_in, attention, attention_out, mlp_in, mlp_out or logits; with --phase or --range
  --skip N          leave out the first N launches that match (default 0)
  --count N         profile so many launches that match (default 20)
  --model MODEL     of the default command (default nano)
  --boost           leave the clocks alone; without it ncu holds them at base, 585 MHz on a T4
  -o FILE           also write FILE.ncu-rep, for ncu-ui
  --print           show the command line, and run nothing
  -h, --help        this text

Examples:
  scripts/profile_ncu.sh --phase decode --kernel decode_silu --set memory -m phi-3-mini-4k-instruct
  scripts/profile_ncu.sh --set full -o gate_up -- build/kernel_bench --device cuda --benchmark_filter=gate_up/rows:512/
  scripts/profile_ncu.sh --print --phase prefill --operation attention
TEXT
}

tokens=64 set=speed kernel= phase= range= operation= skip=0 count=20 model=nano boost=no out= print=no command=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) help && exit 0 ;;
    --print) print=yes && shift && continue ;;
    --boost) boost=yes && shift && continue ;;
    --) shift && command=("$@") && break ;;
    --set | --kernel | --phase | --range | --operation | --skip | --count | --model | -m | -o) ;;
    *) fail 2 "there is no option '$1'; see scripts/profile_ncu.sh --help" ;;
  esac
  [ $# -ge 2 ] || fail 2 "$1 needs a value; see scripts/profile_ncu.sh --help"
  case $1 in
    --set) set=$2 ;; --kernel) kernel=$2 ;; --phase) phase=$2 ;; --range) range=$2 ;; --operation) operation=$2 ;; --skip) skip=$2 ;; --count) count=$2 ;;
    --model | -m) model=$2 ;; -o) out=$2 ;;
  esac
  shift 2
done

sections=(SpeedOfLight LaunchStats Occupancy)
case $set in
  speed) ;;
  memory) sections+=(MemoryWorkloadAnalysis MemoryWorkloadAnalysis_Tables) ;;
  compute) sections+=(ComputeWorkloadAnalysis InstructionStats SchedulerStats WarpStateStats) ;;
  roofline) sections+=(SpeedOfLight_RooflineChart SpeedOfLight_HierarchicalTensorRooflineChart) ;;
  full) sections=() ;;
  *) fail 2 "--set takes speed, memory, compute, roofline or full, not '$set'" ;;
esac
for number in "$skip" "$count"; do
  case $number in '' | *[!0-9]*) fail 2 "--skip and --count take whole numbers, not '$number'" ;; esac
done

ncu=(ncu --target-processes all --nvtx)
if [ "$set" = full ]; then
  ncu+=(--set full --import-source yes)
else
  for s in "${sections[@]}"; do ncu+=(--section "$s"); done
  ncu+=(--metrics gpu__time_duration.sum,dram__bytes_read.sum,dram__bytes_write.sum)
fi
[ -z "$kernel" ] || ncu+=(--kernel-name "regex:$kernel")
take_phase
case $operation in
  '') [ -z "$range" ] || ncu+=(--nvtx-include "$range/") ;;
  attention_in | attention | attention_out | mlp_in | mlp_out | logits)
    [ -n "$range" ] || fail 2 "--operation needs --phase or --range"
    ncu+=(--nvtx-include "$range/*/$operation")
    ;;
  *) fail 2 "--operation takes an operation of the schedule, not '$operation'; see scripts/profile_ncu.sh --help" ;;
esac
[ "$boost" = no ] || ncu+=(--clock-control none)
ncu+=(--launch-skip "$skip" --launch-count "$count")
[ -z "$out" ] || ncu+=(--export "$out" --force-overwrite)

# phi3 profile launches decode steps kernel by kernel, where generation replays a graph.
[ ${#command[@]} -gt 0 ] || command=(build/phi3 profile --device cuda -m "$model" --prompt-tokens "$tokens" -n 2)

if [ "$print" = yes ]; then
  printf '%q ' "${ncu[@]}" "${command[@]}"
  echo
  exit 0
fi
need ncu "Nsight Compute (part of the CUDA toolkit)" "phi3 profile --device vgpu estimates the same counters without one"
if ! "${ncu[@]}" "${command[@]}"; then
  fail 1 "ncu failed; if it says ERR_NVGPUCTRPERM, counters are for root alone: run it with sudo, or load the driver with NVreg_RestrictProfilingToAdminUsers=0"
fi
