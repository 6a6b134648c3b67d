# shellcheck shell=bash
# Programs of the host that the lab uses, and the Debian packages that have them.

# need PROGRAM=PACKAGE…: install what is missing when we may, say what to install when not.
need() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} = 0 ] && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        die "missing programs: install the Debian packages ${missing[*]} (as root on Debian they are installed for you)"
    fi
    say "installing ${missing[*]}"
    scratch
    logged "apt-get update" apt-get update
    logged "apt-get install ${missing[*]}" \
        env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

PATH=$PATH:/usr/sbin:/sbin

need_to_build() {
    command -v apt-get >/dev/null || die "the lab's images are built from Debian packages: it needs a Debian host"
    need mmdebstrap=mmdebstrap mke2fs=e2fsprogs depmod=kmod xz=xz-utils gzip=gzip flock=util-linux
}

need_to_run() {
    need qemu-system-x86_64=qemu-system-x86 mke2fs=e2fsprogs setpriv=util-linux
}

# An ordinary user builds in a user namespace with subordinate ids, as mmdebstrap does: files of the root tree then
# belong to ids that only such a namespace can touch.
in_build_namespace() {
    if [ "$(id -u)" = 0 ]; then "$@"; else mmdebstrap --unshare-helper "$@"; fi
}

remove_tree() {
    [ -e "$1" ] || return 0
    # "return 0": in an exit trap a bare return gives the status of before the trap, and set -e ends the trap.
    if rm -rf "$1" 2>/dev/null; then return 0; fi
    # The namespace empties what is its own; the directories around it are ours.
    in_build_namespace find "$1" -mindepth 1 -delete >/dev/null 2>&1 || true
    rm -rf "$1"
}
