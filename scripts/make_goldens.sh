#!/bin/sh
# Makes tests/goldens anew: the random checkpoints with their logits, and the tokenizers' ids. About a minute on two cores,
# after the virtual environment is there (the first run installs PyTorch and transformers into .venv, some minutes).
# Usage: scripts/make_goldens.sh [models] [tokenizer] [variants] [nano] [perplexity] [smollm2] [published]    default: all
# smollm2 wants scripts/get_model.sh smollm2 first, and says so.
set -eu
cd "$(dirname "$0")/.."
. scripts/make_goldens_venv.sh

[ $# -gt 0 ] || set -- models tokenizer variants nano perplexity smollm2 published
for part in "$@"; do
  case $part in
    models | tokenizer | variants | nano | perplexity | smollm2 | published) echo "make_goldens: $part" && "$python" "scripts/make_goldens_$part.py" ;;
    *) echo "make_goldens: unknown part '$part'; it takes models, tokenizer, variants, nano, perplexity, smollm2, published" >&2 && exit 2 ;;
  esac
done
