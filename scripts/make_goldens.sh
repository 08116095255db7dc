#!/bin/sh
# Makes tests/goldens anew: the random checkpoints with their logits, and the tokenizers' ids. About a minute on two cores,
# after the virtual environment is there (the first run installs PyTorch and transformers into .venv, some minutes).
# Usage: scripts/make_goldens.sh [models] [tokenizer] [nano]    default: all three
set -eu
cd "$(dirname "$0")/.."
. scripts/make_goldens_venv.sh

[ $# -gt 0 ] || set -- models tokenizer nano
for part in "$@"; do
  case $part in
    models | tokenizer | nano) echo "make_goldens: $part" && "$python" "scripts/make_goldens_$part.py" ;;
    *) echo "make_goldens: unknown part '$part'; it takes models, tokenizer, nano" >&2 && exit 2 ;;
  esac
done
