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
