#!/usr/bin/env bash
# Makes .venv/bin/agent-s3: installs what the host lacks (apt), then the locked Python packages. Safe to repeat.
#
#   scripts/setup.sh        what running needs
#   scripts/setup.sh dev    and what testing needs
#
# As root, or where sudo asks no password, missing packages are installed; otherwise the line to run is printed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly FOR="${1:-run}"
readonly VENV=.venv
readonly PYTHONS="python3 python3.14 python3.13 python3.12 python3.11"

say() { printf '%s\n' "setup: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

# --- the host ---------------------------------------------------------------------------------------------------

usable_python() { # first interpreter that is new enough and can make a venv
    local name
    for name in $PYTHONS; do
        "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        command -v "$name"
        return
    done
    return 1
}

is_there() { # command:NAME | lib:NAME | file:PATH
    local name="${1#*:}"
    case "$1" in
        command:*) command -v "$name" >/dev/null ;;
        file:*) [ -e "$name" ] ;;
        lib:*) [[ "$(PATH="$PATH:/usr/sbin:/sbin" ldconfig -p)" == *"$name"* ]] ;;
        *) fail "scripts/host-packages.txt: cannot look for '$1'" ;;
    esac
}

missing_packages() { # missing_packages LEVEL...: package names, one per line
    local level probe package wanted
    usable_python >/dev/null || [[ " $* " != *" make "* ]] || printf '%s\n' python3 python3-venv
    while read -r level probe package _; do
        for wanted in "$@"; do
            [ "$level" != "$wanted" ] || is_there "$probe" || printf '%s\n' "$package"
        done
    done < <(grep -v '^#' scripts/host-packages.txt)
}

as_root() { # as_root COMMAND...: fails when that needs a password
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_packages() { # install_packages NAME...: all of them that apt knows
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
    local name known=()
    command -v apt-get >/dev/null || return 1
    as_root true 2>/dev/null || return 1
    say "installing $* (apt)"
    as_root "${apt[@]}" update >/dev/null || say "apt-get update had complaints; going on with the lists that are there"
    for name in "$@"; do
        if apt-cache --quiet=2 show "$name" >/dev/null 2>&1; then known+=("$name"); fi
    done
    as_root "${apt[@]}" install --no-install-recommends "${known[@]}" >/dev/null
}

apt_line() { printf 'sudo apt-get update && sudo apt-get install -y --no-install-recommends %s' "$*"; }

prepare_host() {
    local levels=(make run) missing
    [ "$FOR" = run ] || levels+=(test)
    mapfile -t missing < <(missing_packages "${levels[@]}")
    [ "${#missing[@]}" = 0 ] || install_packages "${missing[@]}" || say "cannot install ${missing[*]} here by myself"

    mapfile -t missing < <(missing_packages make)
    [ "${#missing[@]}" = 0 ] || fail "not without ${missing[*]} (Python 3.11 or newer); run: $(apt_line "${missing[@]}")"
    mapfile -t missing < <(missing_packages "${levels[@]}")
    [ "${#missing[@]}" = 0 ] || say "some things will not work before you run: $(apt_line "${missing[@]}")"
}

# --- Python -----------------------------------------------------------------------------------------------------

lock_file() { if [ "$FOR" = run ]; then echo requirements.lock; else echo requirements-dev.lock; fi; }

stamp_text() { # changes whenever the environment has to be made anew
    cat "$(lock_file)" pyproject.toml scripts/setup.sh
    pwd
}

venv_is_sound() { # false as well when the folder was moved: scripts in it name the old place
    "$VENV/bin/python" -c 'import pip' 2>/dev/null && grep -qsF "$PWD/$VENV/bin/" "$VENV/bin/pip"
}

install_python_packages() {
    local stamp="$VENV/.stamp-$FOR" text
    text="$(stamp_text | sha256sum)"
    [ "$(cat "$stamp" 2>/dev/null)" != "$text" ] || [ ! -x "$VENV/bin/agent-s3" ] || return 0

    say "installing Python packages into $VENV"
    venv_is_sound || "$(usable_python)" -m venv --clear "$VENV"
    local pip=("$VENV/bin/python" -m pip --disable-pip-version-check --no-input)
    "${pip[@]}" install --quiet --require-hashes -r "$(lock_file)"
    "${pip[@]}" install --quiet --no-deps --no-build-isolation --editable .
    printf '%s\n' "$text" >"$stamp"
}

prepare_host
install_python_packages
