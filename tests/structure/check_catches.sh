#!/usr/bin/env bash
# The include check must be able to fail: trees that break one rule each are refused, with the file and line named.
set -euo pipefail
check=$(cd "$(dirname "$0")" && pwd)/check_includes.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

tree_with() { # FILE TEXT
    rm -rf "$tree/src"
    mkdir -p "$tree/$(dirname "$1")"
    printf '%b' "$2" >"$tree/$1"
}

refused() { # FILE TEXT LINE
    tree_with "$1" "$2"
    if output=$(bash "$check" "$tree"); then
        echo "accepted: $1: $2" && exit 1
    fi
    grep -q "^$1:$3" <<<"$output" || { echo "did not name $1:$3 but: $output" && exit 1; }
}

accepted() {
    tree_with "$1" "$2"
    bash "$check" "$tree" || { echo "refused: $1: $2" && exit 1; }
}

refused src/base/a.c '\n#include "gguf/gguf.h"\n' 2:
refused src/engine/a.c '#include "base/error.h"\n#include "gguf/gguf.h"\n' 2:
refused src/kernels/a.c '#include "gguf/types.h"\n#include "gguf/gguf.h"\n' 2:
refused src/serve/a.h '  #  include "cluster/link.h"\n' 1:
refused src/engine/a.c '#include <mpi.h>\n' 1:
refused src/cli/run.c '#include <mpi.h>\n' 1:
refused src/engine/a.c '/* two\nlines */\n#include <microhttpd.h>\n' 3:
refused src/base/a.c 'x = getenv("HOME");\n' 1:
refused src/cli/run.c 'if (x) exit (1);\n' 1:
refused src/cluster/a.c 'MPI_Abort(MPI_COMM_WORLD, 1);\n' 1:
refused src/elsewhere/a.c 'int x;\n' ' folder'
accepted src/cluster/a.c '#include <mpi.h>\n#include "plan/plan.h"\n#include "cluster/link.h"\n'
accepted src/cli/main.c '#include <mpi.h>\nMPI_Abort(c, 1); exit(2); getenv("X");\n'
accepted src/base/a.c '/* exit(1) and\n * getenv( are words here */ int at_exit(void); // abort()\n'
echo "the check refuses what it should"
