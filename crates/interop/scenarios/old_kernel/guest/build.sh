#!/bin/sh
# Builds the guest of the old kernel scenario into OUT_DIR: Debian's cloud kernel and
# an initramfs with busybox and the gateway itself.
# Usage: build.sh OUT_DIR; VGW_BIN names the gateway's binary.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
. "$here/../../../guest/image.sh"

begin_image "$here/init"
with_modules drivers/net/tun.ko drivers/net/veth.ko
with_libraries "$VGW_BIN"
mv "root$VGW_BIN" root/bin/vgw
end_image
