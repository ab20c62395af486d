#!/usr/bin/env bash
# The scripts in launch/ take names of files, and a prompt, from where they are started, and print commands that work
# there. Nothing is built or run: cmake, ctest and mpirun only tell what they were asked, and where.
# Arguments: the project's folder.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
scratch=$(cd "$scratch" && pwd -P)
unset GPT_OSS_GGUF_PATH

mkdir -p "$scratch"/{tools,elsewhere,clone/configs/demo}
cp -r "$1/launch" "$scratch/clone/"
touch "$scratch/clone/configs/demo/demo.gguf" "$scratch/elsewhere/own.gguf"
for tool in cmake ctest mpirun; do
    printf '#!/bin/sh\necho "%s in $PWD: $*"\n[ %s != mpirun ] || exec cat\n' $tool $tool >"$scratch/tools/$tool"
    chmod +x "$scratch/tools/$tool"
done
export PATH=$scratch/tools:$PATH

expect() { # OUTPUT LINE
    grep -Fxq -- "$2" <<<"$1" && return
    printf 'missing: %s\nin:\n%s\n' "$2" "$1"
    exit 1
}

cd "$scratch/clone"
output=$(echo unasked | launch/demo --no-install)
expect "$output" "mpirun in $PWD: -np 2 build/release/gptoss-dist run --gguf configs/demo/demo.gguf --prompt What is 2+2?"
expect "$output" "\$ mpirun -np 2 build/release/gptoss-dist run --gguf configs/demo/demo.gguf --prompt What\\ is\\ 2+2\\?"
if grep -Fxq unasked <<<"$output"; then
    echo "standard input was read, and nobody asked for it"
    exit 1
fi

cd "$scratch/elsewhere"
output=$(echo deep | ../clone/launch/demo --no-install --gguf own.gguf --prompt-file -)
expect "$output" "mpirun in $PWD: -np 2 $scratch/clone/build/release/gptoss-dist run --gguf own.gguf --prompt-file -"
expect "$output" deep
output=$(GPT_OSS_GGUF_PATH=own.gguf ../clone/launch/demo --no-install --prompt x)
expect "$output" "mpirun in $PWD: -np 2 $scratch/clone/build/release/gptoss-dist run --prompt x --gguf own.gguf"
output=$(../clone/launch/test --no-install -R gguf)
expect "$output" "ctest in $scratch/clone: --preset release --parallel $(nproc) -R gguf"
