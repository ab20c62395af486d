#!/usr/bin/env bash
# check_arm64.sh SOURCE_DIR BUILD_DIR: builds all that computes for arm64 without warnings, and runs its tests in an
# emulator, NEON kernels included. Exits with 77, and says why, when something that it needs is missing:
#
#   aarch64-linux-gnu-gcc and qemu-aarch64 (Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user)
#   cmocka, cJSON and xxHash for arm64, installed or unpacked below BUILD_DIR/root, where fetch_arm64.sh puts them
set -euo pipefail
source=$1 build=$2
root=$build/root
compiler=aarch64-linux-gnu-gcc

export PKG_CONFIG_LIBDIR=$root/usr/lib/aarch64-linux-gnu/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
if [ ! -e "$PKG_CONFIG_LIBDIR" ]; then
    export PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig PKG_CONFIG_SYSROOT_DIR=
fi
missing=()
for program in $compiler qemu-aarch64; do
    command -v $program >/dev/null || missing+=($program)
done
for library in cmocka libcjson libxxhash; do
    pkg-config --exists $library || missing+=("$library:arm64")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "skipped, since these are missing: ${missing[*]}"
    exit 77
fi

cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGPTOSS_WERROR=ON -DGPTOSS_PROGRAM=OFF \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=$compiler \
    "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-L;/usr/aarch64-linux-gnu" >/dev/null
cmake --build "$build"
cd "$build"
# Left out: the emulator has no start times of processes; whole layers take it minutes.
ctest --output-on-failure --parallel "$(nproc)" -E '^(base/clock|model/(stage|shards))$'
# Kernels that the processor does not have are left out of the tests; here it must have them.
grep -qx neon Testing/Temporary/LastTest.log || { echo "the NEON kernels were not tested" && exit 1; }
