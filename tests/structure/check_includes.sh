#!/usr/bin/env bash
# check_includes.sh SOURCE_DIR: holds src/ to its own picture: which folder may include which, and which folders alone
# may call MPI, serve HTTP, read the environment or end the process. Prints every line that breaks a rule.
set -euo pipefail
cd "$1"

# folder: the folders (or single headers) that it may include, besides its own
allowed='
base:
gguf: base
kernels: base gguf/types.h
model: base gguf kernels
plan: base model
cluster: base model plan
engine: base model plan cluster
text: base gguf
serve: base engine text
cli: base gguf kernels model plan cluster engine text serve
'

# Headers and functions that belong to some files alone: a pattern on the path.
only_there='
mpi.h          ^src/(cluster/|cli/main\.c)
microhttpd.h   ^src/serve/
sqlite3.h      ^src/serve/store\.c
gnutls/x509.h  ^src/serve/
secure_getenv  ^src/cli/
getenv         ^src/cli/
exit           ^src/cli/main\.c
_exit          ^src/cli/main\.c
quick_exit     ^src/cli/main\.c
abort          ^src/cli/main\.c
MPI_Abort      ^src/cli/main\.c
'

faults=0
fault() {
    printf '%s\n' "$*"
    faults=$((faults + 1))
}

# The file with its comments blanked out, line numbers kept.
without_comments() {
    awk '{
        line = $0; out = ""
        while (line != "") {
            if (inside) {
                at = index(line, "*/")
                if (!at) break
                inside = 0; line = substr(line, at + 2)
            } else {
                block = index(line, "/*"); rest = index(line, "//")
                if (block && (!rest || block < rest)) {
                    out = out substr(line, 1, block - 1) " "; inside = 1; line = substr(line, block + 2)
                } else {
                    out = out (rest ? substr(line, 1, rest - 1) : line); break
                }
            }
        }
        print out
    }' "$1"
}

check_folder_includes() { # FILE TEXT
    local folder=${1#src/} text=$2 may number target
    folder=${folder%%/*}
    if ! may=$(grep "^$folder:" <<<"$allowed"); then
        fault "$1: folder src/$folder is not in the table of $0"
        return
    fi
    while IFS=: read -r number target; do
        case " $folder ${may#*:} " in
        *" ${target%%/*} "* | *" $target "*) ;;
        *) fault "$1:$number: src/$folder may not include $target (it may:${may#*:})" ;;
        esac
    done < <(sed -nE 's|^ *# *include *"([^"/]+/[^"]*)".*|\1|p;t;s/.*//p' <<<"$text" | grep -n . || true)
}

check_reserved_names() { # FILE TEXT
    local file=$1 text=$2 name where pattern hit
    while read -r name where; do
        if [ -z "$name" ] || [[ $text != *"$name"* || $file =~ $where ]]; then continue; fi
        case $name in
        *.h) pattern="^ *# *include *[<\"]${name/./\\.}[>\"]" ;;
        *) pattern="(^|[^A-Za-z0-9_])$name *\\(" ;;
        esac
        while IFS= read -r hit; do fault "$file:${hit%%:*}: $name belongs to ${where#^} alone"; done < <(
            grep -nE "$pattern" <<<"$text" || true)
    done <<<"$only_there"
}

files=0
while IFS= read -r file; do
    text=$(without_comments "$file")
    check_folder_includes "$file" "$text"
    check_reserved_names "$file" "$text"
    files=$((files + 1))
done < <(find src -name '*.[ch]' | sort)

[ $files -gt 0 ] || fault "no source files below $1/src"
[ $faults -eq 0 ] || exit 1
echo "$files files keep to the table"
