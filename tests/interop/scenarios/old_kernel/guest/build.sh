#!/bin/sh
# Builds the guest of the old kernel scenario into OUT_DIR: Debian's cloud kernel and
# an initramfs with busybox and the gateway itself.
# Usage: build.sh OUT_DIR; VGW_BIN names the gateway's binary.
. "$(dirname "$0")/../../../../../crates/harness/guest/image.sh"

begin_image "$1"
with_modules drivers/net/tun.ko drivers/net/veth.ko
with_libraries "$VGW_BIN"
mv "root$VGW_BIN" root/bin/vgw
end_image
