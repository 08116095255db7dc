#!/usr/bin/env bash
# Fuzzes what reads files and texts from strangers, with clang's libFuzzer and sanitizers. What it finds lies in build-fuzz/finds: put
# the input into tests/fuzz/corpus/NAME, where every build's tests replay it, and mend the cause.
# Usage: scripts/fuzz.sh [--seconds N | --runs N] [TARGET...]   each target so long; default 60 seconds, all targets
#        scripts/fuzz.sh --merge [TARGET...]   the smallest corpus that reaches all that was reached becomes tests/fuzz/corpus
#        scripts/fuzz.sh --check               is clang with libFuzzer's runtime here? Installs nothing
set -euo pipefail
cd "$(dirname "$0")/.."

limit=(-max_total_time=60)
merge=
# Whether clang makes a program with libFuzzer in it.
can_fuzz() {
  local dir ok=0
  dir=$(mktemp -d)
  echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n > 1 ? 0 : 0; }' >"$dir/a.c"
  clang -fsanitize=fuzzer,address,undefined -o "$dir/a" "$dir/a.c" >/dev/null 2>&1 || ok=1
  rm -rf "$dir"
  return $ok
}
usage() {
  sed -n 's/^# \{0,1\}//; 2,7p' "$0"
  exit "$1"
}
number() {
  case ${2:-} in
    '' | *[!0-9]*) echo "fuzz: $1 wants a whole number, not '${2:-}'" >&2 && exit 2 ;;
  esac
}
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) number "$@" && limit=("-max_total_time=$2") && shift 2 ;;
    --runs) number "$@" && limit=("-runs=$2") && shift 2 ;;
    --merge) merge=1 && shift ;;
    --check) can_fuzz && exit 0 || exit 1 ;;
    -h | --help) usage 0 ;;
    -*) usage 2 >&2 ;;
    *) break ;;
  esac
done

if ! can_fuzz; then
  scripts/setup.sh clang
  version=$(clang -dumpversion | cut -d. -f1)
  runtime=libclang-rt-$version-dev # older releases have it in another package
  apt-cache show "$runtime" >/dev/null 2>&1 || runtime=libclang-common-$version-dev
  scripts/setup.sh "$runtime"
  can_fuzz || { echo "fuzz: clang $version still makes no program with -fsanitize=fuzzer; install its runtime" >&2 && exit 1; }
fi
all=$(cd tests/fuzz/corpus && echo *)
targets=("$@")
[ ${#targets[@]} -gt 0 ] || read -ra targets <<<"$all"
for name in "${targets[@]}"; do
  [ -d "tests/fuzz/corpus/$name" ] || { echo "fuzz: there is no target '$name'; the targets are: $all" >&2 && exit 2; }
done
scripts/build.sh fuzz

# The longest input that is tried: enough for every feature of the format, short enough to be quick.
max_len() {
  case $1 in
    gguf | fatbin | ptx) echo 4096 ;;
    config | tokenizer | safetensors) echo 2048 ;;
    words) echo 128 ;;
    *) echo 512 ;;
  esac
}

export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1} UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
interrupted=72 # libFuzzer's code after Ctrl-C
stop() {
  echo "fuzz: $name: interrupted" >&2
  exit 130
}
trap stop INT TERM
found=0
for name in "${targets[@]}"; do
  grown=build-fuzz/corpus/$name
  mkdir -p "$grown" build-fuzz/finds build-fuzz/logs
  log=build-fuzz/logs/$name.txt
  fuzzer=(build-fuzz/fuzz_"$name" "-max_len=$(max_len "$name")" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512)
  if [ -n "$merge" ]; then
    smallest=$(mktemp -d)
    "${fuzzer[@]}" -merge=1 "$smallest" "tests/fuzz/corpus/$name" "$grown" >"$log" 2>&1
    rm -rf "tests/fuzz/corpus/$name" && mv "$smallest" "tests/fuzz/corpus/$name"
    echo "$name: $(find "tests/fuzz/corpus/$name" -type f | wc -l) inputs, $(du -sb "tests/fuzz/corpus/$name" | cut -f1) bytes"
    continue
  fi
  code=0
  "${fuzzer[@]}" "${limit[@]}" "-dict=tests/fuzz/$name.dict" -print_final_stats=1 "-artifact_prefix=build-fuzz/finds/$name-" \
      "$grown" "tests/fuzz/corpus/$name" >"$log" 2>&1 || code=$?
  [ "$code" -ne $interrupted ] || stop
  if [ "$code" -eq 0 ]; then
    echo "$name: $(sed -n 's/stat::number_of_executed_units: *//p' "$log") executions, $(find "$grown" -type f | wc -l) new inputs, no find"
  else
    found=1
    echo "$name: FIND after $(sed -n 's/stat::number_of_executed_units: *//p' "$log" | tail -n 1) executions; the log is $log" >&2
    grep -m 3 -E 'SUMMARY|ERROR|Test unit written' "$log" >&2 || tail -n 5 "$log" >&2
  fi
done
exit $found
