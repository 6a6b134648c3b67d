# shellcheck shell=bash
# Boot, watch, stop.

LAB_CMDLINE="console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off random.trust_cpu=on tsc=reliable"
LAB_CMDLINE+=" systemd.show_status=error"

LAB_QEMU=

# A /dev/kvm without svm or vmx in the CPU's flags cannot run a stock kernel (some clouds have such a one).
accelerator() {
    if [ -n "${LAB_ACCEL:-}" ]; then
        echo "$LAB_ACCEL"
    elif [ -r /dev/kvm ] && [ -w /dev/kvm ] && grep -qwE 'svm|vmx' /proc/cpuinfo; then
        echo kvm
    else
        echo tcg
    fi
}

qemu_machine() {
    case $(accelerator) in
        kvm) QEMU=(-accel kvm -cpu host) ;;
        # Nested SVM and paging: the guest's own /dev/kvm works under emulation.
        tcg)
            # shellcheck disable=SC2054  # QEMU's commas
            QEMU=(-accel tcg,thread=multi -cpu EPYC,+svm,+npt)
            ;;
        *) die "LAB_ACCEL=$LAB_ACCEL: must be kvm or tcg" ;;
    esac
    QEMU+=(-M q35 -smp "$LAB_CPUS" -m "$LAB_MEMORY" -nodefaults -no-user-config -display none -no-reboot -nic none
        -kernel "$LAB_KERNEL_DIR/vmlinuz" -initrd "$LAB_KERNEL_DIR/initramfs.gz"
        -append "$LAB_CMDLINE"
        -chardev "file,id=console,path=$LAB_SCRATCH/console" -serial chardev:console
        -device virtio-serial-pci -device virtio-rng-pci)
    qemu_disk root "$LAB_ROOT_DIR/root.img"
    qemu_disk modules "$LAB_KERNEL_DIR/modules.img"
    qemu_disk newer "$LAB_NEWER_DIR/newer.img"
    qemu_disk share "$LAB_SCRATCH/share.img"
    qemu_port status "$LAB_SCRATCH/status"
    : >"$LAB_SCRATCH/status"
}

# snapshot=on: writes go to an unlinked temporary file, the image stays as it was.
qemu_disk() {
    QEMU+=(-drive "if=none,id=$1,file=$2,format=raw,snapshot=on,cache=unsafe"
        -device "virtio-blk-pci,drive=$1,serial=lab-$1")
}

qemu_port() {
    QEMU+=(-chardev "file,id=$1,path=$2,append=on" -device "virtserialport,chardev=$1,name=lab.$1")
}

# <&0: without it the shell would give a background command /dev/null.
# The guest dies with this shell, even when it is killed with SIGKILL.
qemu_start() {
    say "booting Debian's $LAB_KERNEL kernel $(cat "$LAB_KERNEL_DIR/release") ($(accelerator))"
    setpriv --pdeathsig KILL qemu-system-x86_64 "${QEMU[@]}" "$@" <&0 2>"$LAB_SCRATCH/qemu.err" &
    LAB_QEMU=$!
    if [ -n "${LAB_VERBOSE:-}" ]; then
        tail -q -s 0.2 -n +1 -F --pid="$LAB_QEMU" "$LAB_SCRATCH/console" >&2 2>/dev/null &
    fi
}

qemu_stop() {
    [ -n "$LAB_QEMU" ] || return 0
    kill -KILL "$LAB_QEMU" 2>/dev/null || true
    wait "$LAB_QEMU" 2>/dev/null || true
    LAB_QEMU=
}

# qemu_run: the job's output to ours, its exit status as our own.
qemu_run() {
    qemu_machine
    # Through pipes: QEMU opens the path anew, which would cut a regular file.
    local out err
    exec {out}> >(exec cat)
    exec {err}> >(exec cat >&2)
    qemu_port out "/dev/fd/$out"
    qemu_port err "/dev/fd/$err"
    qemu_port skips "$LAB_SCRATCH/skips"
    qemu_start </dev/null >"$LAB_SCRATCH/qemu.out"
    exec {out}>&- {err}>&-
    qemu_wait
}

qemu_shell() {
    qemu_machine
    LAB_TIMEOUT=86400
    stty raw -echo
    trap 'stty sane; lab_exit' EXIT
    qemu_start -chardev stdio,id=tty,signal=off -device virtconsole,chardev=tty
    qemu_wait
}

# qemu_wait: until the guest has reported an exit status and gone, or has given up, or took too long.
qemu_wait() {
    local up="" started=$SECONDS limit=$LAB_BOOT_TIMEOUT
    local status
    while kill -0 "$LAB_QEMU" 2>/dev/null; do
        status=$(<"$LAB_SCRATCH/status")
        if [ -z "$up" ] && [ -n "$status" ]; then
            up=$((SECONDS - started)) started=$SECONDS limit=$LAB_TIMEOUT
            if [ -n "${LAB_VERBOSE:-}" ]; then say "the command starts after $up s"; fi
        fi
        if [[ $status == *exit* ]]; then
            qemu_leave
            break
        fi
        if [ $((SECONDS - started)) -ge "$limit" ]; then
            qemu_stop
            [ -n "$up" ] || qemu_failed "the guest did not come up in $limit s"
            say "the command took more than $limit s: stopped (LAB_TIMEOUT)"
            # shellcheck disable=SC2153  # set in common.sh
            exit "$LAB_TIMED_OUT"
        fi
        sleep 0.1
    done
    qemu_result "$up"
}

# The guest has said its status and powers off by itself: give it a moment.
qemu_leave() {
    local _
    for _ in {1..50}; do
        kill -0 "$LAB_QEMU" 2>/dev/null || return 0
        sleep 0.1
    done
    qemu_stop
}

qemu_result() {
    local code
    wait "$LAB_QEMU" 2>/dev/null || true
    LAB_QEMU=
    code=$(sed -n 's/^exit \([0-9]*\)$/\1/p' "$LAB_SCRATCH/status")
    [ -n "$code" ] || qemu_failed "$(qemu_reason "$1")"
    # The tests that were skipped in the guest, for who asked (see integration-tests).
    if [ -n "${CAISSON_SKIPS:-}" ] && [ -s "$LAB_SCRATCH/skips" ]; then
        cat "$LAB_SCRATCH/skips" >>"$CAISSON_SKIPS"
    fi
    exit "$code"
}

qemu_reason() {
    if grep -q 'Kernel panic' "$LAB_SCRATCH/console" 2>/dev/null; then
        echo "the guest's kernel panicked: $(sed -n 's/.*Kernel panic - //p' "$LAB_SCRATCH/console" | head -n 1 | tr -d '\r')"
    elif [ -s "$LAB_SCRATCH/qemu.err" ] && [ ! -s "$LAB_SCRATCH/console" ]; then
        echo "QEMU did not start: $(tail -n 3 "$LAB_SCRATCH/qemu.err")"
    elif [ -n "$1" ]; then
        echo "the guest stopped while the command ran"
    else
        echo "the guest stopped before it came up"
    fi
}

qemu_failed() {
    if [ -s "$LAB_SCRATCH/console" ]; then
        say "the last lines of the guest's console:"
        tail -n 30 "$LAB_SCRATCH/console" | tr -d '\r' | sed 's/^/  | /' >&2
    fi
    die "$1"
}
