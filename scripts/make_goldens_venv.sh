# Sourced from the project root: sets $python to an interpreter with scripts/requirements.txt, made under .venv if need be.
# PHI3_PYTHON names another interpreter that already has them.
if [ -n "${PHI3_PYTHON:-}" ]; then
  python=$PHI3_PYTHON
else
  python=.venv/bin/python
  if ! cmp -s scripts/requirements.txt .venv/requirements.txt; then
    echo "installing scripts/requirements.txt into .venv (once)"
    python3 -m venv .venv
    "$python" -m pip install --quiet -r scripts/requirements.txt
    cp scripts/requirements.txt .venv/requirements.txt
  fi
fi
# One thread and no network: sums keep their order, and nothing is fetched beyond the packages.
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
