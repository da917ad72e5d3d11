#!/bin/sh
# Builds the guest of the first connection into OUT_DIR: Debian's cloud kernel with ESP
# and the devices of tunnels as modules, and the host's strongSwan with what the packages
# have that the page names.
# Usage: build.sh OUT_DIR
. "$(dirname "$0")/../../../../../crates/harness/guest/image.sh"

begin_image "$1"
with_modules crypto arch/x86/crypto lib net/xfrm net/ipv4 net/ipv6 net/core \
    drivers/virtio drivers/net/virtio_net.ko drivers/net/net_failover.ko
with_libraries /usr/lib/ipsec/charon /usr/lib/ipsec/starter /usr/lib/ipsec/stroke \
    /usr/sbin/swanctl /usr/sbin/ip /bin/dash /lib/x86_64-linux-gnu/libgcc_s.so.1
packages='libstrongswan libstrongswan-standard-plugins strongswan-libcharon strongswan-starter strongswan-swanctl'
# shellcheck disable=SC2046,SC2086 # each word is a package or a file
with_libraries $(dpkg -L $packages | grep '/plugins/.*\.so$')
cp -r /etc/strongswan.conf /etc/strongswan.d /etc/swanctl /etc/passwd /etc/group root/etc/
cp /usr/sbin/ipsec root/usr/sbin/
cp /usr/lib/ipsec/_updown root/usr/lib/ipsec/
end_image
