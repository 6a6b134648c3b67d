# shellcheck shell=bash
# Names, messages and the cache of the lab.
# shellcheck disable=SC2034  # used by the other parts

LAB_KERNEL=${LAB_KERNEL:-stable}
LAB_TIMEOUT=${LAB_TIMEOUT:-1200}
LAB_BOOT_TIMEOUT=${LAB_BOOT_TIMEOUT:-120}
LAB_MEMORY=${LAB_MEMORY:-3072}
LAB_CPUS=${LAB_CPUS:-2}
# The suite of the root image and of the stable kernel. One name, so that a run of today and one of next year agree.
LAB_SUITE=bookworm
readonly LAB_FAILED=125 LAB_TIMED_OUT=124

say() { printf 'lab: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit "$LAB_FAILED"
}

default_cache() {
    if [ -n "${XDG_CACHE_HOME:-}" ]; then
        echo "$XDG_CACHE_HOME/caisson-lab"
    elif [ "$(id -u)" = 0 ]; then
        echo /var/cache/caisson-lab
    else
        echo "$HOME/.cache/caisson-lab"
    fi
}
LAB_CACHE=${LAB_CACHE:-$(default_cache)}

check_options() {
    case $LAB_KERNEL in stable | sid) ;; *) die "LAB_KERNEL=$LAB_KERNEL: must be stable or sid" ;; esac
    local name
    for name in LAB_TIMEOUT LAB_BOOT_TIMEOUT LAB_MEMORY LAB_CPUS; do
        [[ ${!name} =~ ^[1-9][0-9]*$ ]] || die "$name=${!name}: must be a positive number"
    done
    [ "$(uname -m)" = x86_64 ] || die "the lab needs an x86_64 host, this one is $(uname -m)"
}
check_options

# One scratch directory a run, removed at the end whatever happens.
LAB_SCRATCH=
# The cache entry in the making, and the directory of its image.
LAB_PART=
LAB_IMAGE_PART=
scratch() {
    [ -n "$LAB_SCRATCH" ] && return
    LAB_SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/caisson-lab.XXXXXX") || die "cannot make a scratch directory"
    trap lab_exit EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
}

lab_exit() {
    qemu_stop
    if [ -n "$LAB_IMAGE_PART" ]; then in_build_namespace rm -rf "$LAB_IMAGE_PART"; fi
    if [ -n "$LAB_PART" ]; then remove_tree "$LAB_PART"; fi
    if [ -n "$LAB_SCRATCH" ]; then remove_tree "$LAB_SCRATCH"; fi
}

# Hash of the inputs of a cache entry: the files and words given.
cache_key() {
    local input
    for input in "$@"; do
        if [ -f "$input" ]; then cat "$input"; else printf '%s\n' "$input"; fi
    done | sha256sum | cut -c 1-16
}

# cached ENTRY BUILDER: make $LAB_CACHE/ENTRY by calling `BUILDER DIR`, unless it is there. A lock keeps a second lab
# from building the same thing; the rename at the end keeps a broken build from being taken for a whole one.
cached() {
    local entry=$LAB_CACHE/$1 builder=$2 lock
    [ -d "$entry" ] && return
    mkdir -p "$LAB_CACHE" || die "cannot create the cache directory $LAB_CACHE (set LAB_CACHE)"
    exec {lock}>"$LAB_CACHE/lock" || die "cannot write in $LAB_CACHE (set LAB_CACHE)"
    if ! flock -n "$lock"; then
        say "waiting for another lab that is building"
        flock "$lock"
    fi
    if [ ! -d "$entry" ]; then
        local started=$SECONDS
        LAB_PART=$entry.part
        remove_tree "$LAB_PART"
        mkdir "$LAB_PART"
        "$builder" "$LAB_PART"
        mv -T "$LAB_PART" "$entry"
        LAB_PART=
        say "$1 built in $((SECONDS - started)) s"
    fi
    exec {lock}>&-
}

cache_remove() {
    [ -d "$LAB_CACHE" ] || return 0
    local entry
    for entry in "$LAB_CACHE"/{root,kernel,newer}-*; do
        if [ -e "$entry" ]; then remove_tree "$entry"; fi
    done
    rm -f "$LAB_CACHE/lock"
    rmdir "$LAB_CACHE" || die "$LAB_CACHE holds files that are not the lab's: left alone"
}

# logged WHAT CMD…: run a long command quietly; when it fails, show the end of what it said.
logged() {
    local what=$1 log=$LAB_SCRATCH/log
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 25 "$log" >&2
        die "$what failed: see above"
    fi
}
