# shellcheck shell=bash
# Debian sid's criu, crun and runc for the guest's /opt/newer: bookworm's criu fails on new kernels, its runtimes are old peers.

newer_entry() { echo "newer-$(cache_key "$LAB_D"/{apt,newer}.sh)"; }

# newer_build DIR: programs with sid's own loader and libraries by path, so that they run on an older system and
# /proc/self/exe is still the program itself.
newer_build() {
    local dir=$1 work=$LAB_SCRATCH/newer tree name program libs=usr/lib/x86_64-linux-gnu
    tree=$work/tree
    say "fetching Debian sid's criu, crun and runc"
    apt_suite "$work/apt" sid
    apt_unpack_closure "$work/apt" "$tree" criu crun runc
    apt_unpack "$work/apt" "$work/tools" patchelf libstdc++6 libgcc-s1
    rm -rf "${tree:?}"/{etc,var,usr/share,"$libs"/gconv}
    mkdir -p "$tree/bin.newer"
    for name in criu crun runc; do
        program=$(find "$tree/usr/bin" "$tree/usr/sbin" -name "$name" -type f -print -quit)
        [ -n "$program" ] || die "Debian sid's $name has no program $name"
        cp "$program" "$tree/bin.newer/$name"
        # patchelf is sid's, too: run it with sid's loader.
        logged "patchelf of $name" "$tree/$libs/ld-linux-x86-64.so.2" --library-path "$tree/$libs:$work/tools/$libs" \
            "$work/tools/usr/bin/patchelf" --set-interpreter "/opt/newer/$libs/ld-linux-x86-64.so.2" \
            --force-rpath --set-rpath "/opt/newer/$libs" "$tree/bin.newer/$name"
    done
    rm -rf "${tree:?}/bin"
    mv "$tree/bin.newer" "$tree/bin"
    logged "mke2fs of sid's programs" ext4 "$tree" "$dir/newer.img" lab-newer "$(($(du -sm "$tree" | cut -f 1) * 5 / 4 + 16))M"
    rm -rf "$work"
}
