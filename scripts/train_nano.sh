#!/bin/sh
# Trains the bundled model from nothing and writes runtime/model/nano: 30 to 60 minutes with one thread, after the virtual
# environment is there (the first run installs PyTorch into .venv, some minutes). The goldens of the model follow from it:
# run scripts/make_goldens.sh nano tokenizer afterwards.
# Usage: scripts/train_nano.sh [--out DIR] [--steps N] [--seed S]
set -eu
cd "$(dirname "$0")/.."
. scripts/make_goldens_venv.sh
nice "$python" scripts/train_nano.py "$@"
