# Sourced from the project root: sets $python to an interpreter with scripts/requirements.txt, made under .venv if need be.
# PHI3_PYTHON names another interpreter that already has them.
if [ -n "${PHI3_PYTHON:-}" ]; then
  python=$PHI3_PYTHON
else
  python=.venv/bin/python
  if ! cmp -s scripts/requirements.txt .venv/requirements.txt; then
    echo "installing scripts/requirements.txt into .venv (once, some minutes)"
    python3 -m venv .venv
    # PyTorch's own index has a build without CUDA, 200 MB instead of 3 GB; not every machine can reach it.
    index=https://download.pytorch.org/whl/cpu
    "$python" -c "import urllib.request as u; u.urlopen('$index/torch/', timeout=10)" 2>/dev/null || index=
    "$python" -m pip install --quiet ${index:+--extra-index-url "$index"} -r scripts/requirements.txt
    cp scripts/requirements.txt .venv/requirements.txt
  fi
fi
# One thread and no network: sums keep their order, and nothing is fetched beyond the packages.
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
