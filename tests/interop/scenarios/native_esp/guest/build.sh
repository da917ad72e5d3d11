#!/bin/sh
# Builds the guest of the native ESP scenario into OUT_DIR: Debian's cloud kernel,
# whose ESP is a module, and an initramfs with busybox and the host's strongSwan.
# Usage: build.sh OUT_DIR
. "$(dirname "$0")/../../../../../crates/harness/guest/image.sh"

begin_image "$1"
# The few directories that virtio-net and ESP need.
with_modules crypto arch/x86/crypto lib/crypto net/xfrm net/ipv4 net/core \
    drivers/virtio drivers/net/virtio_net.ko drivers/net/net_failover.ko
with_libraries /usr/lib/ipsec/charon /usr/sbin/swanctl /lib/x86_64-linux-gnu/libgcc_s.so.1
for plugin in aes sha1 sha2 hmac gcm kdf random nonce openssl kernel-netlink socket-default vici; do
    with_libraries "/usr/lib/ipsec/plugins/libstrongswan-$plugin.so"
done
end_image
