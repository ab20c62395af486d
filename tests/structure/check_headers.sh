#!/usr/bin/env bash
# check_headers.sh SOURCE_DIR C_COMPILER CXX_COMPILER-or-empty FLAGS...: every header compiles alone; those of include/
# also as C++ when there is a compiler for it.
set -euo pipefail
cd "$1"
cc=$2 cxx=$3
shift 3

faults=0 headers=0
check() { # LANGUAGE HEADER COMMAND...
    local language=$1 header=$2
    shift 2
    if ! printf '#include <%s>\n' "$header" | "$@" -x "$language" -fsyntax-only -Wall -Wextra -Werror -Iinclude -Isrc -; then
        echo "$header does not compile alone as $language"
        faults=$((faults + 1))
    fi
    headers=$((headers + 1))
}

for header in $(find include src -name '*.h' -printf '%P\n' | sort); do
    check c "$header" "$cc" -std=c17 -D_GNU_SOURCE "$@"
done
if [ -n "$cxx" ]; then
    for header in $(find include -name '*.h' -printf '%P\n' | sort); do
        check c++ "$header" "$cxx" -std=c++11 -pedantic
    done
fi

[ $headers -gt 0 ] || { echo "no headers below $PWD" && exit 1; }
[ $faults -eq 0 ] || exit 1
echo "$headers checks passed"
