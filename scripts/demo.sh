#!/usr/bin/env bash
# One easy task on four forked desktops, judged, the winner's files delivered: what `make demo` shows.
#
#   scripts/demo.sh           with the embedded model, or with a written script where it cannot be fetched
#   scripts/demo.sh MODEL     with the model of that spec, see `agent-s3 model ls`
set -euo pipefail
cd "$(dirname "$0")/.."

readonly AGENT=.venv/bin/agent-s3
readonly SCRIPT=scripted:scripts/demo/policy.json
readonly TASK="Documents/guests.txt has one name per line, some of them twice. Write every name once, sorted from A to Z, \
to Documents/sorted.txt. Leave guests.txt as it is."

say() { printf '\n%s\n' "demo: $*" >&2; }

model="${1:-}"
"$AGENT" pool image build slim
if [ -z "$model" ]; then
    model=local
    if ! "$AGENT" model pull local; then
        model="$SCRIPT"
        say "THE EMBEDDED MODEL CANNOT BE FETCHED HERE. A written script plays agent and judge instead ($SCRIPT);"
        say "the desktops, the actions and the evidence are real, the decisions are not a model's."
    fi
fi

out="runs/demo-$(date +%Y%m%d-%H%M%S)"
say "$TASK"
code=0
"$AGENT" run "$TASK" -n 4 --image slim --model "$model" --file scripts/demo/guests.txt --run-dir "$out" --out "$out/delivered" || code=$?
case "$code" in
    0) say "the winner's files are in $out/delivered, the report is $out/report.html (model: $model)" ;;
    3) say "the judge chose none of the four; why is in $out/report.html (model: $model)" ;;
    *) say "the run ended with code $code; $AGENT doctor says what this machine lacks" ;;
esac
exit "$code"
