#!/usr/bin/env bash
# openai.sh NODE FOLDER PROGRAM MPIEXEC MODEL: serves MODEL on two ranks to openai*.mjs, which use the package "openai"
# in FOLDER/node_modules. 77: node or the package is not there.
set -euo pipefail
node=$1 folder=$2 program=$3 mpiexec=$4 model=$5
here=$(cd "$(dirname "$0")" && pwd)
if [ ! -x "$node" ] || [ ! -d "$folder/node_modules/openai" ]; then
    echo "skipped: no node, or no package openai in $folder"
    exit 77
fi
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi

log=$(mktemp) script=$folder/openai-$$.mjs
"$mpiexec" --oversubscribe --quiet -np 2 "$program" serve --gguf "$model" --bind 127.0.0.1:0 --threads 1 --max-kv 8192 2>"$log" &
server=$!
end() {
    kill "$server" 2>/dev/null || true
    rm -f "$log" "$script"
}
trap end EXIT
for _ in $(seq 600); do
    if grep -q 'listens on' "$log"; then break; fi
    sleep 0.1
done
read -r address rank0 < <(sed -nE 's/.*listens on (http[^ ]*) \(process ([0-9]+)\).*/\1 \2/p' "$log")
for test in "$here"/openai*.mjs; do
    cp "$test" "$script" # node looks for packages beside the script
    "$node" "$script" "$address"
done
kill -TERM "$rank0"
wait "$server"
