#!/usr/bin/env bash
# Runs a command in a fresh clone of this repository on a Debian or Ubuntu that has nothing but make and git:
# the proof that the project's own files install all it needs.
#
#   sudo scripts/clean-room.sh make demo             as root
#   sudo scripts/clean-room.sh --user make test      as an ordinary user, on a host whose packages are there
#   sudo scripts/clean-room.sh --room DIR ...        keep the room in DIR and use it again
#
# The room is a directory tree of the host's own release, entered with mount and process namespaces of its own. It has
# the host's kernel, network, package sources and certificates, and none of its programs. Committed files alone count.
set -euo pipefail

REPOSITORY="$(cd "$(dirname "$0")/.." && pwd)"
readonly REPOSITORY SOMEONE=someone
readonly CLONE="/home/$SOMEONE/agent-s3"

say() { printf '%s\n' "clean-room: $*" >&2; }
fail() {
    say "$*"
    exit 2
}

of_this_release() { # of_this_release NAME: a value of os-release
    sed -n "s/^$1=\"\?\([^\"]*\)\"\?$/\1/p" /etc/os-release
}

own_sources() { # the distribution's own package sources, whichever file they are in
    local id file
    id="$(of_this_release ID)"
    for file in "/etc/apt/sources.list.d/$id.sources" /etc/apt/sources.list; do
        if [ -s "$file" ]; then
            echo "$file"
            return
        fi
    done
    fail "no package sources in /etc/apt/sources.list.d/$id.sources or /etc/apt/sources.list"
}

build_room() { # build_room DIR
    say "building $1"
    mmdebstrap --quiet --variant=minbase --include=make,git,ca-certificates \
        "$(of_this_release VERSION_CODENAME)" "$1" "$(own_sources)"
    apt-config dump | grep '^Acquire::' >"$1/etc/apt/apt.conf.d/00host" || true
    [ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$1/etc/pip.conf"
    cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"
    chroot "$1" useradd --create-home --shell /bin/bash "$SOMEONE"
    mkdir -p "$1/dev" "$1/proc" "$1/sys" "$1/old"
    touch "$1/.room"
}

clone_into() { # clone_into DIR: a fresh clone, owned by whom it is for
    rm -rf "$1$CLONE"
    git clone --quiet --no-hardlinks "$REPOSITORY" "$1$CLONE"
    [ "$AS" = root ] || chroot "$1" chown -R "$SOMEONE:$SOMEONE" "/home/$SOMEONE"
}

enter() { # enter DIR USER COMMAND...: in namespaces of its own, so that nothing outlives it
    local room="$1" user="$2"
    shift 2
    cp --remove-destination /etc/resolv.conf /etc/hosts "$room/etc/"
    local passed=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 USER="$user")
    local name home
    for name in http_proxy https_proxy no_proxy PIP_INDEX_URL; do
        [ -z "${!name:-}" ] || passed+=("$name=${!name}")
    done
    home="$(grep "^$user:" "$room/etc/passwd" | cut -d: -f6)"
    # A root changed by chroot would forbid user namespaces inside; pivot_root does not.
    # shellcheck disable=SC2016  # the inner shell expands these
    unshare --mount --pid --fork --kill-child --uts --ipc -- bash -c '
        set -e
        room="$1" user="$2"; shift 2
        mount --make-rprivate /
        mount --bind "$room" "$room"
        cd "$room"
        mount --rbind /dev dev
        mount --rbind /sys sys
        mount -t tmpfs -o mode=1777 shm dev/shm
        mount -t proc proc proc
        pivot_root . old
        cd /
        umount -l /old
        exec setpriv --reuid="$user" --regid="$user" --init-groups "$@"
    ' - "$room" "$user" env -i --chdir="$CLONE" HOME="$home" "${passed[@]}" "$@"
}

packages() { # all that scripts/host-packages.txt names, and Python
    grep -v '^#' "$REPOSITORY/scripts/host-packages.txt" | awk '{print $3}'
    echo python3 python3-venv
}

AS=root ROOM=""
while [ "$#" -gt 0 ]; do
    case "$1" in
        --user) AS="$SOMEONE" && shift ;;
        --room) ROOM="$2" && shift 2 ;;
        -*) fail "unknown option $1" ;;
        *) break ;;
    esac
done
[ "$#" -gt 0 ] || fail "say what to run, e.g.: sudo scripts/clean-room.sh make demo"
[ "$(id -u)" = 0 ] || fail "building a room needs root; run: sudo $0 $*"
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing; run: sudo apt-get install -y mmdebstrap"

if [ -z "$ROOM" ]; then
    ROOM="$(mktemp -d)"
    chmod 755 "$ROOM"
    trap 'rm -rf --one-file-system "$ROOM"' EXIT
fi
[ -e "$ROOM/.room" ] || build_room "$ROOM"
clone_into "$ROOM"
if [ "$AS" != root ]; then
    # shellcheck disable=SC2046
    enter "$ROOM" root sh -c 'apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "$@"' - $(packages)
fi
enter "$ROOM" "$AS" "$@"
