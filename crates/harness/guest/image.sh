# What the guests' build.sh have in common. In the directory that the image goes to,
# `root` is the initramfs, `kernel` the unpacked kernel package.
set -eu

# apt would download as the user _apt, who may not write here.
download_kernel() {
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2 }')
    [ -n "$package" ] && apt-get -qq -o APT::Sandbox::User=root download "$package"
}

# Begins an image in this directory: Debian's cloud kernel, and an initramfs with
# busybox and the init that lies beside build.sh.
begin_image() {
    recipe=$(cd "$(dirname "$0")" && pwd)
    mkdir -p "$1"
    cd "$1"
    rm -rf kernel root
    # With no list of packages, or one whose kernel is gone, a new list helps.
    download_kernel || { apt-get -qq update && download_kernel; }
    dpkg-deb -x "$package"_*.deb kernel
    rm "$package"_*.deb
    version=$(basename kernel/lib/modules/*)
    cp "kernel/boot/vmlinuz-$version" vmlinuz
    mkdir -p root/bin root/proc root/sys root/dev root/run root/tmp root/etc "root/lib/modules/$version"
    cp /bin/busybox root/bin/
    cp "$recipe/init" root/init
    chmod 755 root/init
}

# Directories or files of modules, with what they depend on.
with_modules() {
    for module in "$@"; do
        from="kernel/lib/modules/$version/kernel/$module"
        [ -e "$from" ] || continue
        mkdir -p "root/lib/modules/$version/kernel/$(dirname "$module")"
        cp -r "$from" "root/lib/modules/$version/kernel/$module"
    done
    cp "kernel/lib/modules/$version"/modules.builtin* "kernel/lib/modules/$version"/modules.order "root/lib/modules/$version/"
    busybox depmod -b root "$version"
}

# Each file with every library that it is linked to.
with_libraries() {
    for file in "$@"; do
        { echo "$file"; ldd "$file" | awk '/=> \// { print $3 } $1 ~ /^\// { print $1 }'; } |
            while read -r one; do
                mkdir -p "root$(dirname "$one")"
                [ -e "root$one" ] || cp -L "$one" "root$one"
            done
    done
}

end_image() {
    (cd root && find . | cpio --quiet -o -H newc | gzip -1) > initramfs.gz
    rm -rf kernel root
}
