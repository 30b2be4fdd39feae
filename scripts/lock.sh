#!/usr/bin/env bash
# Resolves pyproject.toml into requirements.lock and requirements-dev.lock: exact versions with hashes, for every
# supported Python and platform, and no word of where they came from.
set -euo pipefail
cd "$(dirname "$0")/.."

resolve() { # resolve FILE OPTION...
    local file="$1"
    shift
    .venv/bin/uv pip compile pyproject.toml --quiet --upgrade "$@" \
        --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file "$file"
    if grep -nE '://|^--' "$file"; then
        echo "lock: $file names a place; it must hold versions and hashes only" >&2
        exit 1
    fi
}

resolve requirements.lock --extra local --extra lab --extra ocr --group build
resolve requirements-dev.lock --extra local --extra lab --extra ocr --extra docker --group build --group dev
