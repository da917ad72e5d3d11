#!/bin/sh
# Builds the guest of the native ESP scenario into OUT_DIR: Debian's cloud kernel,
# whose ESP is a module, and an initramfs with busybox and the host's strongSwan.
# Usage: build.sh OUT_DIR
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
rm -rf kernel root

# apt would download as the user _apt, who may not write here.
fetch_kernel() {
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2 }')
    [ -n "$package" ] && apt-get -qq -o APT::Sandbox::User=root download "$package"
}
# With no list of packages, or one whose kernel is gone, a new list helps.
fetch_kernel || { apt-get -qq update && fetch_kernel; }
dpkg-deb -x "$package"_*.deb kernel
rm "$package"_*.deb
version=$(basename kernel/lib/modules/*)
cp "kernel/boot/vmlinuz-$version" vmlinuz

mkdir -p root/bin root/proc root/sys root/dev root/run root/tmp root/etc "root/lib/modules/$version"
cp /bin/busybox root/bin/
cp "$here/init" root/init
chmod 755 root/init

# The few directories of modules that virtio-net and ESP need.
for directory in crypto arch/x86/crypto lib/crypto net/xfrm net/ipv4 net/core \
    drivers/virtio drivers/net/virtio_net.ko drivers/net/net_failover.ko; do
    from="kernel/lib/modules/$version/kernel/$directory"
    [ -e "$from" ] || continue
    mkdir -p "root/lib/modules/$version/kernel/$(dirname "$directory")"
    cp -r "$from" "root/lib/modules/$version/kernel/$directory"
done
cp "kernel/lib/modules/$version"/modules.builtin* "kernel/lib/modules/$version"/modules.order "root/lib/modules/$version/"
busybox depmod -b root "$version"

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
with_libraries /usr/lib/ipsec/charon /usr/sbin/swanctl /lib/x86_64-linux-gnu/libgcc_s.so.1
for plugin in aes sha1 sha2 hmac gcm kdf random nonce openssl kernel-netlink socket-default vici; do
    with_libraries "/usr/lib/ipsec/plugins/libstrongswan-$plugin.so"
done

(cd root && find . | cpio --quiet -o -H newc | gzip -1) > initramfs.gz
rm -rf kernel root
