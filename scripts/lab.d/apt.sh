# shellcheck shell=bash
# Debian packages of a suite the host need not have: a private source list, index and cache.

LAB_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# The mirror this machine already uses: the first source of origin Debian that is not the security archive.
mirror() {
    local uri=${LAB_MIRROR:-}
    # shellcheck disable=SC2016  # apt's own format language
    [ -n "$uri" ] || uri=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 == "Debian" && $3 == "main" && $1 !~ /security/ { print $1; exit }')
    [ -n "$uri" ] || die "no Debian mirror in this machine's apt configuration: run apt-get update, or set LAB_MIRROR"
    echo "${uri%/}"
}

source_line() {
    local uri
    uri=$(mirror)
    echo "deb [signed-by=$LAB_KEYRING] $uri $1 main"
}

# apt_options DIR: the options that keep apt to DIR. Word list in APT_OPTIONS.
apt_options() {
    APT_OPTIONS=(-q -o "Dir::Etc::SourceList=$1/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$1/lists" -o "Dir::Cache=$1/cache" -o APT::Sandbox::User=root -o APT::Get::List-Cleanup=0)
}

# apt_suite DIR SUITE: an index of SUITE in DIR.
apt_suite() {
    mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
    source_line "$2" >"$1/sources.list"
    apt_options "$1"
    logged "apt-get update for Debian $2 ($(mirror))" apt-get "${APT_OPTIONS[@]}" --error-on=any update
}

# apt_unpack DIR INTO PACKAGE…: fetch packages with the index in DIR and unpack them, without their dependencies.
apt_unpack() {
    local dir=$1 into=$2 deb
    shift 2
    apt_options "$dir"
    mkdir -p "$dir/debs" "$into"
    (cd "$dir/debs" && logged "apt-get download $*" apt-get "${APT_OPTIONS[@]}" download "$@")
    for deb in "$dir"/debs/*.deb; do
        logged "unpacking ${deb##*/}" dpkg-deb -x "$deb" "$into"
    done
    rm -r "$dir/debs"
}

# apt_unpack_closure DIR INTO PACKAGE…: the same with all they depend on, as if nothing were installed.
apt_unpack_closure() {
    local dir=$1 into=$2 deb
    shift 2
    apt_options "$dir"
    : >"$dir/status"
    mkdir -p "$into"
    logged "apt-get download $* and their libraries" apt-get "${APT_OPTIONS[@]}" -o "Dir::State::status=$dir/status" \
        -o Debug::NoLocking=1 -y --no-install-recommends --download-only install "$@"
    for deb in "$dir"/cache/archives/*.deb; do
        logged "unpacking ${deb##*/}" dpkg-deb -x "$deb" "$into"
    done
}

# apt_depends DIR PACKAGE PATTERN: the dependencies of PACKAGE whose name matches.
apt_depends() {
    apt_options "$1"
    apt-cache "${APT_OPTIONS[@]}" depends --important "$2" | awk -v want="$3" '$1 == "Depends:" && $2 ~ want { print $2 }'
}
