# Common to all set-up scripts: where things are, how progress is shown.
# Sourced, not run.  SPDX-License-Identifier: GPL-2.0-or-later

set -euo pipefail
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$(mkdir -p "${BUILD:-$TOP/build}" && cd "${BUILD:-$TOP/build}" && pwd)
CACHE=${CACHE:-$BUILD/cache}            # what was downloaded; kept by 'make clean'
QEMU_TREE=$BUILD/src/qemu               # base + patches/ + links, a git tree
QEMU_BUILD=$BUILD/qemu                  # QEMU's own build directory
OPENBIOS_TREE=$BUILD/src/openbios       # base + patches-openbios/, a git tree
PRIVATE=$BUILD/private                  # unpacked packages (meson, firmware)
JOBS=${JOBS:-$(nproc)}
mkdir -p "$CACHE" "$BUILD/src"

step() { printf '\n==> %s\n' "$*" >&2; }
die()  { printf 'error: %s\n' "$*" >&2; exit 1; }

# Compilers go through ccache where it is installed: a series that is
# taken off and put on again then costs seconds.
if command -v ccache >/dev/null; then
    export CCACHE_DIR=${CCACHE_DIR:-$BUILD/ccache}
    export CCACHE_BASEDIR=$BUILD CCACHE_SLOPPINESS=time_macros
    CCACHE=ccache
else
    CCACHE=
fi

GUESTS=$BUILD/guests                    # kernel, busybox, root file systems
SPARC64=sparc64-linux-gnu-              # cross compiler of the guests
EPOCH=1704067200                        # date in everything built: 2024-01-01, so that builds repeat

# The newest of several versions of a file.
newest() { printf '%s\n' "$@" | sort -V | tail -n1; }
FIRMWARE=$BUILD/firmware                # what QEMU is given with -L

# The directory at hand becomes a git tree whose first commit is tagged 'base'.
commit_base() {
    git init -q .
    git add -A -f .
    git -c user.name=series -c user.email=series@localhost -c commit.gpgsign=false -c gc.auto=0 \
        commit -q -m "$1"
    git tag base
}
