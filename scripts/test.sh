#!/usr/bin/env bash
# All tests, on real desktops, a real browser and the embedded model where this machine has them.
#
#   scripts/test.sh [PYTEST ARGUMENT...]
#   AGENT_S3_TEST_VM=1 scripts/test.sh ...     and the long ones on virtual machines
#
# What could not be fetched or built is said here and again, with the tests it cost, at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly AGENT=.venv/bin/agent-s3
missing=()

try() { # try WHAT COMMAND...
    local what="$1"
    shift
    echo "test: $what" >&2
    "$@" || missing+=("$what: $*")
}

try "image slim" "$AGENT" pool image build slim
try "image desktop" "$AGENT" pool image build desktop
try "CRIU for saved programs" "$AGENT" pool criu
# Not among the other packages: it is compiled, and only where libvirt's headers are.
try "libvirt for Python" .venv/bin/pip --disable-pip-version-check --no-input install --quiet --no-build-isolation \
    --require-hashes -r requirements-vm.lock
try "image slim for virtual machines" "$AGENT" pool image build slim --format vm
[ -n "${AGENT_S3_TEST_VM:-}" ] ||
    missing+=("the long tests on virtual machines (cold copies, others' disks), minutes under software emulation: AGENT_S3_TEST_VM=1 make test")
try "embedded model" "$AGENT" model pull local

code=0
.venv/bin/python -m pytest "$@" || code=$?
for line in "${missing[@]}"; do printf '\033[31mtest: NOT HERE: %s\033[0m\n' "$line" >&2; done
exit "$code"
