#!/usr/bin/env bash
# Lint, types, layers and every test; then the tests again on the newest Python found, where PyMC and ArviZ differ.
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
BIN=$VENV/bin
PYTEST_OPTIONS=(-q -p no:cacheprovider -n "${GBVEVAL_TEST_WORKERS:-2}" --dist loadgroup)
# Two workers share the cores; a pool of threads in each would only wait.
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 PYTHONHASHSEED=0 MPLBACKEND=Agg

step() { printf '\n== %s\n' "$*"; }

step "lint, format, types, layers"
"$BIN/ruff" check .
"$BIN/ruff" format --check -q .
"$BIN/mypy"
"$BIN/lint-imports"

step "tests on $("$BIN/python" --version)"
"$BIN/python" -m pytest "${PYTEST_OPTIONS[@]}"

newest() {
  # The newest interpreter above the environment's own, on the path or under pyenv.
  local own candidate found=""
  own=$("$BIN/python" -c 'import sys; print("%d%02d" % sys.version_info[:2])')
  for candidate in python3.{20..12} "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
    candidate=$(command -v "$candidate" 2>/dev/null) || continue
    "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11) or sys.version_info >= (3, 15))' 2>/dev/null || continue
    version=$("$candidate" -c 'import sys; print("%d%02d" % sys.version_info[:2])')
    [ "$version" -gt "$own" ] || continue
    if [ -z "$found" ] || [ "$version" -gt "${found%% *}" ]; then found="$version $candidate"; fi
  done
  [ -z "$found" ] || echo "${found#* }"
}

python=$(newest)
if [ -n "$python" ]; then
  make -s env VENV=.venv-newest PY="$python"
  step "tests on $(.venv-newest/bin/python --version)"
  GBVEVAL_KIT=brief .venv-newest/bin/python -m pytest "${PYTEST_OPTIONS[@]}" -m "not once"
else
  step "no newer Python was found; the tests ran on one"
fi
