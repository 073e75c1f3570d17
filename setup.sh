#!/usr/bin/env bash
# Makes .venv in this checkout with FLAME and the extras named: bash setup.sh test
#
# The system's Python stays untouched. On a machine with an NVIDIA driver the matching CUDA extra comes along
# (FLAME_SETUP_CUDA=0 leaves it out). Run it again at any time: what is there is kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() {
  printf '\nsetup.sh: %s\n' "$*" >&2
  exit 1
}

find_python() { # the first Python of 3.11 or newer; PYTHON=... chooses another
  local name
  for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  fail "FLAME needs Python 3.11 or newer, and ${PYTHON:-python3} is not; name one with PYTHON=/path/to/python bash setup.sh"
}

make_venv() { # Debian and Ubuntu ship Python without ensurepip: their python3-venv package brings it
  local python=$1 version
  "$python" -c 'import ensurepip, venv' 2>/dev/null || {
    version=$("$python" -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")')
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    command -v apt-get >/dev/null && { [ ${#as_root[@]} = 0 ] || command -v sudo >/dev/null; } ||
      fail "$python cannot make virtual environments (no ensurepip); install your system's package of it, often $version"
    echo "setup.sh: $python has no ensurepip; installing $version"
    "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq "$version" ||
      fail "could not install $version; install it by hand and run this line again"
  }
  "$python" -m venv .venv || fail "$python -m venv .venv failed; remove .venv and run this line again"
}

cuda_extra() { # ,cuda for drivers of CUDA 13 (580 and newer), ,cuda12 for older ones; tests compile for CUDA without a GPU too
  local driver=""
  if [ "${FLAME_SETUP_CUDA:-1}" != 0 ]; then
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1 | cut -d. -f1) || true
  fi
  if [[ $driver =~ ^[0-9]+$ ]]; then
    [ "$driver" -ge 580 ] && echo ,cuda || echo ,cuda12
  elif [[ ,$1, =~ ,(test|parity|dev), ]]; then
    echo ,offline
  fi
}

extras=${1:-demo}
extras+=$(cuda_extra "$extras")
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  python=$(find_python) # on a line of its own: its failure must end this script
  make_venv "$python"
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]" ||
  fail "pip could not install FLAME with [$extras]; its reason stands above"
echo "setup.sh: $(.venv/bin/python --version) with FLAME[$extras] in .venv"
