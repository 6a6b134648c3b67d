# shellcheck shell=bash
# The root image: Debian stable with systemd and the container tools.

# One package a line, comments allowed.
root_packages() { sed 's/#.*//' "$LAB_D/guest/packages" | xargs | tr ' ' ','; }

root_entry() {
    echo "root-$(cache_key "$LAB_SUITE" "$LAB_D"/{apt,root}.sh "$LAB_D"/guest/{packages,prepare,lab-run,as-tester,lab.service})"
}

# root_build DIR
root_build() {
    local dir=$1 work=$LAB_SCRATCH/root tree
    tree=$work/tree
    mkdir -p "$work"
    # An ordinary user's build namespace must be able to enter the directory.
    chmod 755 "$LAB_SCRATCH"
    say "building the root image from Debian $LAB_SUITE packages (a minute or two)"
    # The host's way to the mirror: proxies and the like.
    apt-config dump --no-empty --format '%F "%v";%n' Acquire |
        grep -E '^Acquire::(https?|Check|Retries|Force)' >"$work/aptopt" || true
    logged "mmdebstrap" mmdebstrap --variant=essential --include="$(root_packages)" --aptopt="$work/aptopt" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --customize-hook="copy-in '$LAB_D/guest' /tmp" \
        --customize-hook="chroot \"\$1\" sh /tmp/guest/prepare" \
        "$LAB_SUITE" "$tree" "$(source_line "$LAB_SUITE")"
    # The namespace can write only where its own ids may: the image is made in a directory of its own.
    # shellcheck disable=SC2016  # for the inner shell
    local make='chmod 755 "$2" && . "$3" && ext4 "$1" "$2/root.img" lab-root 4G'
    LAB_IMAGE_PART=$(in_build_namespace mktemp -d "${TMPDIR:-/tmp}/caisson-lab-image.XXXXXX")
    logged "mke2fs of the root tree" \
        in_build_namespace bash -c "$make" make "$tree" "$LAB_IMAGE_PART" "$LAB_D/ext4.sh"
    cp --sparse=always "$LAB_IMAGE_PART/root.img" "$dir/root.img"
    in_build_namespace rm -r "$LAB_IMAGE_PART"
    LAB_IMAGE_PART=
    remove_tree "$work"
}

lab_build() {
    scratch
    LAB_ROOT_DIR=$LAB_CACHE/$(root_entry)
    LAB_KERNEL_DIR=$LAB_CACHE/$(kernel_entry)
    LAB_NEWER_DIR=$LAB_CACHE/$(newer_entry)
    if ! [ -d "$LAB_ROOT_DIR" ] || ! [ -d "$LAB_KERNEL_DIR" ] || ! [ -d "$LAB_NEWER_DIR" ]; then need_to_build; fi
    cached "${LAB_KERNEL_DIR##*/}" kernel_build
    cached "${LAB_NEWER_DIR##*/}" newer_build
    cached "${LAB_ROOT_DIR##*/}" root_build
}
