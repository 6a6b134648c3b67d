# shellcheck shell=bash
# A Debian cloud kernel: vmlinuz, modules.img and the small initramfs that finds the root disk.

kernel_suite() {
    case $LAB_KERNEL in
        stable) echo "$LAB_SUITE" ;;
        sid) echo sid ;;
    esac
}

kernel_entry() {
    echo "kernel-$LAB_KERNEL-$(cache_key "$(kernel_suite)" "$LAB_D"/{apt,kernel}.sh "$LAB_D/guest/initramfs-init")"
}

# kernel_build DIR
kernel_build() {
    local dir=$1 suite work=$LAB_SCRATCH/kernel packages release
    suite=$(kernel_suite)
    say "fetching Debian $suite's cloud kernel"
    apt_suite "$work/apt" "$suite"
    # The meta package names the real one; since 7.x that one only gathers -base, -binary and -modules.
    mapfile -t packages < <(apt_depends "$work/apt" linux-image-cloud-amd64 '^linux-image-')
    [ ${#packages[@]} = 1 ] || die "Debian $suite has no linux-image-cloud-amd64"
    mapfile -t -O 1 packages < <(apt_depends "$work/apt" "${packages[0]}" '^linux-(base|binary|modules)-[0-9]')
    apt_unpack "$work/apt" "$work/tree" "${packages[@]}" busybox-static
    # Packages before the merged /usr have lib/modules.
    if ! [ -d "$work/tree/usr/lib/modules" ]; then
        mkdir -p "$work/tree/usr/lib"
        mv "$work/tree/lib/modules" "$work/tree/usr/lib/"
    fi
    release=$(ls "$work/tree/usr/lib/modules")
    find "$work/tree" -name "vmlinuz*" -type f -exec cp {} "$dir/vmlinuz" \; -quit
    [ -s "$dir/vmlinuz" ] || die "no vmlinuz in the packages ${packages[*]}"
    mkdir -p "$work/tree/lib"
    ln -sfn ../usr/lib/modules "$work/tree/lib/modules"
    logged "depmod for $release" depmod -b "$work/tree" "$release"
    initramfs "$work" "$release" "$dir/initramfs.gz"
    logged "mke2fs of the modules" ext4 "$work/tree/usr/lib/modules" "$dir/modules.img" lab-modules 512M
    echo "$release" >"$dir/release"
    rm -rf "$work"
}

# initramfs WORK RELEASE FILE: busybox and the modules between the kernel and its disks, plus virtio-console.
initramfs() {
    local work=$1 top=$1/initramfs module bb
    mkdir -p "$top"/{bin,modules,dev,proc,sys,newroot}
    bb=$(find "$work/tree" -path '*/bin/busybox' -type f -print -quit)
    cp "$bb" "$top/bin/busybox"
    ln -s busybox "$top/bin/sh"
    install -m 755 "$LAB_D/guest/initramfs-init" "$top/init"
    for module in virtio_pci virtio_blk virtio_console; do
        modprobe -d "$work/tree" -S "$2" --show-depends "$module" || die "the kernel $2 lacks $module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/modules"
    while read -r module; do
        case $module in
            *.xz) xz -dc "$module" ;;
            *.zst) zstd -dc "$module" ;;
            *) cat "$module" ;;
        esac >"$top/modules/$(basename "${module%.ko*}").ko"
        echo "$(basename "${module%.ko*}").ko" >>"$top/modules/order"
    done <"$work/modules"
    (cd "$top" && find . | "$bb" cpio -o -H newc 2>/dev/null) | gzip -1 >"$3"
}
