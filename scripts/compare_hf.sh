#!/usr/bin/env bash
# Decoding speed of phi3 and of Hugging Face transformers side by side: same file, same ids, same threads.
# Usage: scripts/compare_hf.sh [-m MODEL.gguf] [-o OUT.json] [options]; see --help
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x "${PHI3:-build/phi3}" ] || { echo "compare_hf: build first: scripts/quickstart.sh" >&2; exit 1; }
. scripts/make_goldens_venv.sh
unset OMP_NUM_THREADS
export TQDM_DISABLE=1
exec "$python" scripts/compare_hf.py "$@"
