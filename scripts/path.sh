# Sourced from the project's root: the cmake that setup.sh had to install goes before the system's.
if [ -d .venv-cmake/bin ]; then PATH=$PWD/.venv-cmake/bin:$PATH; fi
