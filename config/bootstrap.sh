#!/bin/sh
# Brings the virtual environment up to what a lock file says. `make` calls it:
#   config/bootstrap.sh venv run|dev|bench     .venv with config/locks/<name>.txt, without network when nothing changed
#   config/bootstrap.sh lock             config/locks/*.txt from pyproject.toml; UPGRADE=1 for newer versions
#   config/bootstrap.sh programs         Chromium and curl for the tests, where that is allowed
# PYTHON names the Python to use; otherwise the newest of those found from 3.11 on.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" && { echo "$PYTHON"; return; }
        say "PYTHON=$PYTHON is not a Python 3.11 or newer."
        exit 1
    fi
    # python3 first: it is the one whose venv package Debian has installed, if any.
    for name in python3 python3.13 python3.12 python3.11; do
        fits "$name" && { echo "$name"; return; }
    done
    say "Batchdesk needs Python 3.11 or newer, and none of python3, python3.13, python3.12, python3.11 is one."
    say "Install one, for example: apt-get install python3 python3-venv; or name it: make run PYTHON=/path/to/python3"
    exit 1
}

# Installs Debian packages if this user may; says no (1) otherwise.
apt_install() {
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" = 0 ]; then as_root=""
    elif sudo -n true 2>/dev/null; then as_root="sudo -n"
    else return 1
    fi
    say "Installing $* with apt-get"
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >/dev/null 2>&1 && return 0
    $as_root apt-get update -q >/dev/null 2>&1 || true
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >/dev/null
}

works() { .venv/bin/python -m pip --version >/dev/null 2>&1 && fits .venv/bin/python; }

make_venv() {
    works && return
    python=$(find_python)
    say "Making .venv with $($python --version)"
    rm -rf .venv
    if "$python" -m venv .venv >/dev/null 2>&1 && works; then return; fi
    # Debian and Ubuntu leave ensurepip out of python3 and put it into a package of its own.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    rm -rf .venv
    if apt_install "python$version-venv" && "$python" -m venv .venv && works; then return; fi
    rm -rf .venv
    say "$python cannot make virtual environments. This command brings what is missing; then start again:"
    say "    sudo apt-get install -y python$version-venv"
    exit 1
}

venv() {
    make_venv
    locks=$(cat config/locks/*.txt | sha256sum | cut -c 1-64)
    have=$(cat .venv/installed 2>/dev/null || true)
    # What the benchmarks need contains what the tests need, and that what a run needs.
    case "$1 in $have" in
        "run in "*" $locks" | "dev in "[db]*" $locks" | "bench in bench $locks") return ;;
    esac
    say "Installing the packages of config/locks/$1.txt"
    rm -f .venv/installed
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "config/locks/$1.txt"
    echo "$1 $locks" > .venv/installed
}

# What the tests use besides packages.
programs() {
    browser
    program curl curl
    program unzip unzip
    program xmllint libxml2-utils
}

program() {
    command -v "$1" >/dev/null || apt_install "$2" || say "There is no $1, so the tests that use it are left out."
}

browser() {
    if [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null; then return; fi
    # On Ubuntu the package is a stub for a snap.
    if ! grep -qs '^ID=ubuntu' /etc/os-release && apt_install chromium; then
        # The pages ask for Inter first; without it they take the font of the system.
        apt_install fonts-inter || say "There is no fonts-inter, so the pictures of the pages have another font."
        return
    fi
    say "There is no chromium, so the browser tests are left out. Name one with CHROMIUM=/path/to/chromium,"
    say "or on Debian: sudo apt-get install -y chromium"
}

lock() {
    python=$(find_python)
    tools=$(mktemp -d)
    trap 'rm -rf "$tools"' EXIT
    "$python" -m venv "$tools"
    "$tools/bin/python" -m pip install -q --disable-pip-version-check uv
    for name in run dev bench; do
        group=$name
        [ "$name" = run ] && group=embedded
        say "Resolving config/locks/$name.txt"
        # Universal, since a lock made for one patch release of Python breaks on another; without any index's address.
        "$tools/bin/uv" pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --no-annotate \
            --python-version 3.11 pyproject.toml --group "$group" -o "config/locks/$name.txt" ${UPGRADE:+--upgrade}
    done
}

case "${1:-}" in
    venv | programs | lock) "$@" ;;
    *) say "Say what to do: venv run, venv dev, venv bench, programs or lock."; exit 2 ;;
esac
