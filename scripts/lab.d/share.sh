# shellcheck shell=bash
# The disk with the source tree, the built programs and the job. Made anew for each run: the image never changes.

# share_tree: stage the tree and the project's programs.
share_tree() {
    local stage=$LAB_SCRATCH/share profile program
    mkdir -p "$stage/.lab" "$stage/bin"
    tar -C "$LAB_TREE" --mode=a+rX --exclude=./target --exclude=./.git -cf - . | tar -C "$stage" -xf - --no-same-owner
    # Release first: what users run. The newer one would make a run depend on what was built last.
    for profile in debug release; do
        for program in "$LAB_TREE/target/x86_64-unknown-linux-gnu/$profile"/*; do
            if [ -f "$program" ] && [ -x "$program" ]; then
                share_program "$program" "$profile"
            fi
        done
    done
    [ -e "$LAB_D/../lab-bench" ] && install -m 755 "$LAB_D/../lab-bench" "$stage/lab-bench"
    printf 'LAB_HOST_TREE=%q\n' "$LAB_TREE" >"$stage/.lab/env"
}

share_program() {
    local to=$LAB_SCRATCH/share/target/x86_64-unknown-linux-gnu/$2
    mkdir -p "$to"
    cp --reflink=auto "$1" "$to/"
    ln -sfn "../target/x86_64-unknown-linux-gnu/$2/${1##*/}" "$LAB_SCRATCH/share/bin/${1##*/}"
}

share_job_run() {
    if [ "$1" = ./lab-bench ] && command -v cargo >/dev/null; then
        say "building the release"
        (cd "$LAB_TREE" && cargo build --quiet --release -p caisson -p caisson-bench) || die "run: caisson does not build"
    fi
    share_tree
    { printf 'exec' && printf ' %q' "$@" && echo; } >"$LAB_SCRATCH/share/.lab/job"
    share_pack
}

share_job_shell() {
    share_tree
    {
        printf 'LAB_TERMINAL=%q\n' "${TERM:-vt100}"
        stty size | { read -r rows columns && printf 'LAB_ROWS=%q LAB_COLUMNS=%q\n' "$rows" "$columns"; }
    } >>"$LAB_SCRATCH/share/.lab/env"
    share_pack
}

# share_job_test FILTER: build the runtime and the integration tests here (the guest has no compiler), run them there.
share_job_test() {
    local messages=$LAB_SCRATCH/cargo.json programs program to=$LAB_SCRATCH/share/.lab/tests
    command -v cargo >/dev/null || die "test: cargo is not in PATH"
    say "building the integration tests${LAB_RUNTIME:+ (RUNTIME=$LAB_RUNTIME)}"
    if [ -z "${LAB_RUNTIME:-}" ]; then
        (cd "$LAB_TREE" && cargo build --quiet --release -p caisson) || die "test: caisson does not build"
    fi
    # And the unit tests of what talks to kernel and systemd.
    (cd "$LAB_TREE" && cargo test --quiet -p caisson-integration-tests -p caisson-cgroup -p caisson-sys --no-run \
        --message-format=json-render-diagnostics) >"$messages" || die "test: the integration tests do not build"
    mapfile -t programs < <(sed -n '/"executable":"/s/.*"executable":"\([^"]*\)".*/\1/p' "$messages" | grep /deps/ | grep -v /caisson_integration_tests-)
    [ ${#programs[@]} -gt 0 ] || die "test: integration-tests has no test program"
    share_tree
    mkdir -p "$to"
    for program in "${programs[@]}"; do
        cp --reflink=auto "$program" "$to/"
    done
    {
        if [ -n "${LAB_RUNTIME:-}" ]; then printf 'export RUNTIME=%q\n' "$LAB_RUNTIME"; fi
        printf 'exec bash scripts/lab.d/guest/lab-test %q\n' "$1"
    } >"$LAB_SCRATCH/share/.lab/job"
    share_pack
}

share_pack() {
    local stage=$LAB_SCRATCH/share size
    # Room for what the command writes, too.
    size=$(($(du -sm "$stage" | cut -f 1) * 5 / 4 + 512))M
    logged "mke2fs of the source tree" ext4 "$stage" "$LAB_SCRATCH/share.img" lab-share "$size"
    rm -rf "$stage"
}
