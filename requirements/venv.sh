#!/usr/bin/env bash
# Create or update .venv from a lock: requirements/venv.sh PYTHON LOCK
set -euo pipefail
python=$1 lock=$2 venv=.venv
cd "$(dirname "$0")/.."

fail() {
    echo "error: $*" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "no $python here; install Python 3.11, or say where it is: make PYTHON=/path/to/python3.11"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$version" = 3.11 ] || fail "$python is Python $version; the lock is for 3.11: make PYTHON=/path/to/python3.11"

# Debian ships the pip for new environments in a separate package. If it is not installed, download and unpack it in a temporary
# folder, without root and without changing the machine.
borrow_pip() {
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    mkdir -p "$scratch"/{lists,archives}/partial
    local apt=(apt-get -qq -o "Dir::State::lists=$scratch/lists" -o "Dir::Cache=$scratch" -o APT::Sandbox::User=)
    (cd "$scratch" && "${apt[@]}" update && "${apt[@]}" download python3-pip-whl && dpkg-deb -x python3-pip-whl*.deb .) \
        >"$scratch/log" 2>&1 || return 1
    local wheel=("$scratch"/usr/share/python-wheels/pip-*.whl)
    "$python" -m venv --without-pip "$venv"
    PYTHONPATH=${wheel[0]} "$venv/bin/python" -m pip --quiet install --no-index "${wheel[0]}"
}

# Recreate a .venv whose Python is gone (after an upgrade, or in a moved folder).
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "making $venv with $("$python" --version) ..."
    rm -rf "$venv"
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv "$venv"
    else
        borrow_pip || fail "$python cannot make virtual environments; as root: apt-get install python3-venv"
    fi
fi

echo "installing requirements/$lock.txt ..."
hashes=$([ "$lock" = torch ] || echo --require-hashes)
"$venv/bin/python" -m pip --quiet --disable-pip-version-check install $hashes -r "requirements/$lock.txt"
"$venv/bin/python" -m pip -qq --disable-pip-version-check install --no-deps --no-build-isolation --no-index --editable .
