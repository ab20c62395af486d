#!/usr/bin/env bash
# check_compare.sh PROGRAM: tests/bench/compare refuses what it cannot do in one clear line, and installs what is missing.
# node and npm are stand-ins, so that nothing is measured or downloaded.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

tools=$scratch/tools
mkdir "$tools"
for tool in bash cat dirname mkdir mktemp rm tail; do ln -s "$(command -v $tool)" "$tools/$tool"; done
: >"$scratch/model.gguf"

stand_in() { # NAME TEXT
    printf '#!%s\n%s\n' "$(command -v bash)" "$2" >"$tools/$1"
    chmod +x "$tools/$1"
}

faults=0
expect() { # STATUS WORDS ARGUMENTS...
    local want=$1 words=$2 status=0 said
    shift 2
    said=$(PATH=$tools "$here/compare" "$@" 2>&1 </dev/null) || status=$?
    if [ "$status" != "$want" ] || [[ $said != *"$words"* ]]; then
        printf 'compare %s\n  exit status %s, wanted %s; wanted "%s" in:\n%s\n' "$*" "$status" "$want" "$words" "$said"
        faults=$((faults + 1))
    fi
}

good=("$scratch/model.gguf" --peer "$scratch/peer" --program "$program")
expect 0 "--rounds N" --help
expect 2 "no model is given"
expect 2 "cannot read /nonexistent.gguf" /nonexistent.gguf
expect 2 "--peer DIR is missing" "$scratch/model.gguf" --program "$program"
expect 2 "/nonexistent is not there" "$scratch/model.gguf" --peer "$scratch/peer" --program /nonexistent
expect 2 "one model at a time" "${good[@]}" another.gguf
expect 2 "unknown flag --round" "${good[@]}" --round 3
expect 2 "--rounds wants a value" "${good[@]}" --rounds
expect 2 "--rounds wants a whole number above 0" "${good[@]}" --rounds 0
expect 2 "--threads wants numbers" "${good[@]}" --threads 1,,2
expect 2 "--depth wants a whole number" "${good[@]}" --depth -1

expect 1 "node is missing" "${good[@]}"
# shellcheck disable=SC2016 # for the stand-ins to expand
stand_in node 'echo "node ${*##*/}"'
expect 1 "npm is missing" "${good[@]}"
stand_in npm 'echo the registry is away; exit 7'
expect 1 "the registry is away" "${good[@]}"
expect 1 "npm cannot install node-llama-cpp" "${good[@]}"
# shellcheck disable=SC2016
stand_in npm 'mkdir -p "$3/node_modules/node-llama-cpp"'
expect 0 "node compare.mjs ${program##*/} peer model.gguf --threads 1,2 --json yes" "${good[@]}" --threads 1,2 --json
rm "$tools/npm"
expect 0 "node compare.mjs" "${good[@]}" # installed already

[ $faults -eq 0 ] || exit 1
echo "compare refuses and installs as it should"
