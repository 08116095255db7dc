#!/usr/bin/env bash
# Perplexity by phi3 and by Hugging Face transformers, of the same text in the same windows.
# Usage: scripts/perplexity_hf.sh [-m MODEL] [--window N] [--stride N] FILE; see --help
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x "${PHI3:-build/phi3}" ] || { echo "perplexity_hf: build first: scripts/quickstart.sh" >&2; exit 1; }
. scripts/make_goldens_venv.sh
unset OMP_NUM_THREADS
export TQDM_DISABLE=1
exec "$python" scripts/perplexity_hf.py "$@"
