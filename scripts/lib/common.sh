# Common to all set-up scripts: where things are, how progress is shown.
# Sourced, not run.  SPDX-License-Identifier: GPL-2.0-or-later

set -euo pipefail

# --help of every script: the comment at its head.
case ${1:-} in -h|--help) sed -n '2,/^# SPDX/{/SPDX/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;; esac

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=$(mkdir -p "${BUILD:-$TOP/build}" && cd "${BUILD:-$TOP/build}" && pwd)
CACHE=$(mkdir -p "${CACHE:-$BUILD/cache}" && cd "${CACHE:-$BUILD/cache}" && pwd)   # what was downloaded; kept by "make clean"
QEMU_TREE=${QEMU_TREE:-$BUILD/src/qemu}               # base + patches/ + links, a git tree
QEMU_BUILD=${QEMU_BUILD:-$BUILD/qemu}   # where it is built
OPENBIOS_TREE=${OPENBIOS_TREE:-$BUILD/src/openbios}       # base + patches-openbios/, a git tree
PRIVATE=$BUILD/private                  # unpacked packages (meson, firmware)
ALL_TARGETS=sparc64-softmmu,x86_64-softmmu
QEMU_OTHERS=$BUILD/qemu-others          # targets that only the long tests need
USER_TARGETS=sparc64-linux-user         # nobody needs it, but every patch has to build it
JOBS=${JOBS:-$(nproc)}
mkdir -p "$CACHE" "$BUILD/src"

step() { printf '\n==> %s\n' "$*" >&2; }
die()  { printf 'error: %s\n' "$*" >&2; exit 1; }
[[ $JOBS =~ ^[1-9][0-9]*$ ]] || die "JOBS=$JOBS is not a number above 0"

# Compilers go through ccache where it is installed: a series that is
# taken off and put on again then costs seconds.
if command -v ccache >/dev/null; then
    export CCACHE_DIR=${CCACHE_DIR:-$BUILD/ccache}
    export CCACHE_BASEDIR=$BUILD CCACHE_SLOPPINESS=time_macros
    export CCACHE_NOHASHDIR=1           # share a cache between clones
    CCACHE=ccache
else
    CCACHE=
fi

GUESTS=$BUILD/guests                    # kernel, busybox, root file systems
SPARC64=sparc64-linux-gnu-              # cross compiler of the guests
EPOCH=1704067200                        # date in everything built: 2024-01-01, so that builds repeat

# The newest of several versions of a file.
newest() { printf '%s\n' "$@" | sort -V | tail -n1; }
FIRMWARE=${FIRMWARE:-$BUILD/firmware}                # what QEMU is given with -L

# The directory at hand becomes a git tree whose first commit is tagged 'base'.
commit_base() {
    git init -q .
    git add -A -f .
    git -c user.name=series -c user.email=series@localhost -c commit.gpgsign=false -c gc.auto=0 \
        commit -q -m "$1"
    git tag base
}

# Run a long command, its output in a file; on the terminal how far it is.
run_logged() {
    local log=$1 status=0 start=$SECONDS next=20; shift
    "$@" > "$log" 2>&1 &
    local pid=$!
    trap 'kill $pid 2>/dev/null; exit 130' INT TERM
    while kill -0 $pid 2>/dev/null; do
        sleep 0.5
        [ $((SECONDS - start)) -ge $next ] || continue
        next=$((next + 20))
        printf '    %4d s: %s\n' $((SECONDS - start)) "$(tail -n1 "$log" | cut -c1-70)" >&2
    done
    wait $pid || status=$?
    trap - INT TERM
    [ $status = 0 ] || tail -n 25 "$log" >&2
    return $status
}

# A directory as a compressed cpio archive, on standard output.  Owner, order
# and dates are fixed: same files, same bytes.
make_cpio() {
    find "$1" -exec touch -h -d "@$EPOCH" {} +
    (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
         cpio -o0 --quiet -H newc -R 0:0 --reproducible | gzip -9n)
}

# guests/stack-end.c says what static programs of the SPARC guests need to be
# linked with: compiled into a file, the option for gcc in STACK_END.
STACK_END=
build_stack_end() {
    "${SPARC64}gcc" -O2 -Wall -Werror -fno-stack-protector -c -o "$1" "$TOP/guests/stack-end.c"
    STACK_END=-Wl,--wrap=__libc_start_main,$1
}

# build_workloads ROOT COMPILER OPTIONS...: the workloads into a root file
# system.  Scripts are copied; all C programs become one static executable that
# looks at its name (half a megabyte of C library once, not ten times).  A line
# "build: -O0" in a comment of its own adds to the options of that file, a line
# "only: sparc64 x86_64" keeps it from the guests of other machines.  With
# ONLY_WORKLOADS="NAME ..." there are no others than these.
build_workloads() {
    local root=$1 file name names=() objects machine only; shift
    machine=$("$@" -dumpmachine)
    objects=$(mktemp -d -p "$BUILD")
    for file in "$TOP"/guests/workloads/*; do
        name=$(basename "$file" .c)
        only=$(sed -n 's|^/\* only: \(.*\) \*/$|\1|p' "$file")
        if [[ $only && " $only " != *" ${machine%%-*} "* ]]; then continue; fi
        if [[ ${ONLY_WORKLOADS:-} && " $ONLY_WORKLOADS " != *" $name "* ]]; then continue; fi
        case $file in
        *.c) # shellcheck disable=SC2046
             "$@" -O2 -pthread -Wall -Werror $(sed -n 's|^/\* build: \(.*\) \*/$|\1|p' "$file") \
                 -Dmain="$name"_main -c -o "$objects/$name.o" "$file"
             names+=("$name") ;;
        *)   if [ -x "$file" ]; then cp "$file" "$root/workloads/$name"; fi ;;
        esac
    done
    {
        echo '#include <libgen.h>'
        echo '#include <string.h>'
        printf 'int %s_main(void);\n' "${names[@]}"
        echo 'int main(int argc, char **argv) {'
        for name in "${names[@]}"; do
            echo "if (!strcmp(basename(argv[0]), \"$name\")) { return ${name}_main(); }"
            ln -s /bin/workloads "$root/workloads/$name"
        done
        echo 'return 127; }'
    } > "$objects/all.c"
    [[ $* != *"$SPARC64"* ]] || build_stack_end "$objects/stack-end"
    "$@" -O2 -static -pthread -s -Wl,--build-id=none ${STACK_END:+"$STACK_END"} -o "$root/bin/workloads" \
        "$objects/all.c" "$objects"/*.o -lm
    rm -r "$objects"
}
