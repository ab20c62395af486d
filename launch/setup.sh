# shellcheck shell=bash disable=SC2034,SC2046,SC2086 # lists of packages are meant to be split
#
# Sourced by launch/demo, launch/test and .ci/run: from a bare machine to build/release/gptoss-dist. Not run by itself.

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$project/build/release
log=$project/build/launch.log

# What the build needs: its name on Debian and Ubuntu, on Fedora, on Arch, and how to see that it is there:
# a `command`, a `header`, or a `library` that pkg-config knows (its header, as long as there is no pkg-config).
requirements='
gcc                 gcc                  gcc            command cc
libc6-dev           glibc-devel          glibc          header stdio.h
cmake               cmake                cmake          command cmake
ninja-build         ninja-build          ninja          command ninja
pkg-config          pkgconf-pkg-config   pkgconf        command pkg-config
openmpi-bin         openmpi              openmpi        command mpirun
libopenmpi-dev      openmpi-devel        openmpi        command mpicc
libhwloc-dev        hwloc-devel          hwloc          library hwloc hwloc.h
libcjson-dev        cjson-devel          cjson          library libcjson cjson/cJSON.h
libmicrohttpd-dev   libmicrohttpd-devel  libmicrohttpd  library libmicrohttpd microhttpd.h
libgnutls28-dev     gnutls-devel         gnutls         library gnutls gnutls/gnutls.h
libcmocka-dev       libcmocka-devel      cmocka         library cmocka cmocka.h
libpcre2-dev        pcre2-devel          pcre2          library libpcre2-8 pcre2.h
libxxhash-dev       xxhash-devel         xxhash         library libxxhash xxhash.h
libsqlite3-dev      sqlite-devel         sqlite         library sqlite3 sqlite3.h
xz-utils            xz                   xz             command xz
procps              procps-ng            procps-ng      command pkill
'

say() { printf '%s\n' "$*"; }

die() {
    printf '%s: %s\n' "$0" "$*" >&2
    exit 1
}

have_command() { command -v "$1" >/dev/null 2>&1; }

is_present() { # command NAME | header FILE | library MODULE FILE
    case $1 in
    command) have_command "$2" ;;
    header) test -e "/usr/include/$2" ;;
    library) if have_command pkg-config; then pkg-config --exists "$2"; else test -e "/usr/include/$3"; fi ;;
    esac
}

# Prints the missing packages, one a line, by their names on the distribution in column $1 of the table.
missing_packages() {
    local debian fedora arch check
    while read -r debian fedora arch check; do
        # shellcheck disable=SC2086 # the words of a check are its arguments
        if [ -z "$debian" ] || is_present $check; then continue; fi
        case $1 in
        debian) echo "$debian" ;;
        fedora) echo "$fedora" ;;
        arch) echo "$arch" ;;
        esac
    done <<<"$requirements" | sort -u
}

# Fedora keeps Open MPI out of PATH until `module load mpi`.
find_fedora_openmpi() {
    local bin=/usr/lib64/openmpi/bin
    if ! have_command mpicc && [ -x $bin/mpicc ]; then PATH=$bin:$PATH; fi
}

# Runs a command quietly: its output goes to the log, whose end is shown when it fails.
quietly() { # TITLE COMMAND...
    local title=$1 start=$SECONDS
    shift
    printf '%s ... ' "$title"
    if "$@" >>"$log" 2>&1 </dev/null; then
        say "done ($((SECONDS - start)) s)"
        return
    fi
    say "failed"
    tail -n 40 "$log" >&2
    die "$title failed; the whole log is in $log"
}

# Installs with apt the packages named; asks for nothing that is there already.
install_with_apt() {
    local as_root=()
    local command="apt-get update && apt-get install -y --no-install-recommends $*"
    if [ "$(id -u)" -ne 0 ]; then
        have_command sudo || die "these need root to install, and there is no sudo; as root run: $command"
        as_root=(sudo)
        if [ -t 0 ]; then
            sudo -v || die "sudo was refused; as root run: $command"
        else
            sudo -n true 2>/dev/null || die "sudo asks for a password and there is no terminal; as root run: $command"
            as_root=(sudo -n)
        fi
    fi
    as_root+=(env DEBIAN_FRONTEND=noninteractive)
    quietly "reading the package lists" "${as_root[@]}" apt-get update
    quietly "installing" "${as_root[@]}" apt-get install -y --no-install-recommends "$@"
}

install_missing() { # yes | no: whether it may install
    find_fedora_openmpi
    local missing
    missing=$(missing_packages debian)
    [ -n "$missing" ] || return 0
    if ! have_command apt-get; then
        say "Packages are missing, and this is no distribution with apt. Install them, then run this again:"
        say "  Debian, Ubuntu:" $missing
        say "  Fedora:        " $(missing_packages fedora)
        say "  Arch:          " $(missing_packages arch)
        exit 1
    fi
    say "Missing packages:" $missing
    if [ "$1" = no ]; then
        say "Nothing was installed. To install them: apt-get install -y" $missing
        exit 1
    fi
    # shellcheck disable=SC2086 # one word a package
    install_with_apt $missing
    missing=$(missing_packages debian)
    [ -z "$missing" ] || die "still missing after the installation:" $missing
}

cores() { nproc 2>/dev/null || echo 2; }

# Presets are found in the current folder only; files that a user names are relative to the one this was started in.
in_project() { (cd "$project" && "$@"); }

build_release() { # TARGET
    quietly "configuring" in_project cmake --preset release
    quietly "building" in_project cmake --build --preset release --parallel "$(cores)" --target "$1"
}

# Lets ranks start wherever this is: as root in a container, with fewer cores than ranks, without ptrace between them.
allow_mpi_anywhere() {
    if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
    export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
    export OMPI_MCA_orte_execute_quiet=1 # a rank that fails has said why; mpirun need not add ten lines
}

# From nothing to a built target of the release preset.
set_up() { # TARGET, yes | no: whether packages may be installed
    mkdir -p "$project/build"
    : >"$log"
    install_missing "$2"
    build_release "$1"
    allow_mpi_anywhere
}
