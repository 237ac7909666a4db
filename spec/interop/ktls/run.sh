#!/bin/bash
# SPDX-License-Identifier: MIT
#
# TLS whose records the kernel seals (tls.ktls = "auto"), in a virtual machine with a kernel that
# can: Debian's, emulated, so its speed says nothing. Needs qemu-system-x86 and, for the first run,
# apt-get download. What is tried is in guest.sh.
#
#   spec/interop/ktls/run.sh build/release/rproxy       (make interop-ktls)
#   KERNEL=linux-image-6.1.0-56-cloud-amd64 spec/interop/ktls/run.sh ...
set -eu

bin=${1:?the program}
here=$(cd "$(dirname "$0")" && pwd)
work=${KTLS_DIR:-$(dirname "$bin")/ktls}
root=$work/root

say() { echo "ktls: $*"; }

command -v qemu-system-x86_64 >/dev/null || { say "install qemu-system-x86"; exit 2; }
mkdir -p "$work/debs"

# The newest kernel that the archive has, unless one is named.
fetch() {
    ls "$work"/debs/"$1"_*.deb >/dev/null 2>&1 ||
        (cd "$work/debs" && apt-get download -q "$1" >/dev/null 2>&1) ||
        { say "cannot download $1" >&2; exit 2; }
    echo "$work"/debs/"$1"_*.deb
}
kernel=${KERNEL:-$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p')}
kernel_deb=$(fetch "$kernel")
busybox_deb=$(fetch busybox-static)

rm -rf "$root" "$work/kernel" && mkdir -p "$root" "$work/kernel"
dpkg-deb -x "$kernel_deb" "$work/kernel"
dpkg-deb -x "$busybox_deb" "$root"
release=$(ls "$work/kernel/lib/modules")
from=$work/kernel/lib/modules/$release to=$root/lib/modules/$release
modules="kernel/crypto kernel/arch/x86/crypto kernel/lib/crypto kernel/net/tls"
(cd "$from" && find $modules -name '*.ko' 2>/dev/null) |
    while read -r module; do
        mkdir -p "$to/$(dirname "$module")"
        cp "$from/$module" "$to/$module"
    done
cp "$from"/modules.builtin "$from"/modules.order "$to/"
"$root/bin/busybox" depmod -b "$root" "$release"

# A program with the libraries that it loads.
install_program() {
    cp "$1" "$root/bin/"
    ldd "$1" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^\t\(\/[^ ]*ld-linux[^ ]*\).*/\1/p' |
        while read -r lib; do
            mkdir -p "$root$(dirname "$lib")"
            cp -L "$lib" "$root$lib"
        done
}
install_program "$bin"
install_program "$(command -v openssl)"
for module in /usr/lib/x86_64-linux-gnu/ossl-modules /usr/lib/x86_64-linux-gnu/lua; do
    [ -d "$module" ] && mkdir -p "$root$module" && cp -r "$module"/. "$root$module/"
done
for folder in proc sys dev tmp etc www sbin run; do mkdir -p "$root/$folder"; done
echo 'root:x:0:0::/:/bin/sh
nobody:x:65534:65534::/:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:
nogroup:x:65534:' >"$root/etc/group"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=a \
    -addext subjectAltName=DNS:a.test -keyout "$root/etc/a.key" -out "$root/etc/a.pem" 2>/dev/null
cp "$here/guest.sh" "$root/init"
cp "$here/site.lua" "$root/etc/site.lua"
chmod 755 "$root/init"
(cd "$root" && find . | ./bin/busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$work/initramfs.gz"

say "kernel $release, $(du -h "$work/initramfs.gz" | cut -f1) of initramfs; this takes some minutes"
timeout "${KTLS_SECONDS:-900}" qemu-system-x86_64 -machine pc,accel=tcg -cpu max -smp 1 -m 1536 \
    -display none -no-reboot -serial stdio -monitor none -nic none \
    -kernel "$work/kernel/boot/vmlinuz-$release" -initrd "$work/initramfs.gz" \
    -append "console=ttyS0 panic=-1 quiet" </dev/null | stdbuf -o0 tr -d '\r' |
    tee "$work/console.log" | grep --line-buffered '^ktls:' || true
grep -q '^ktls: all good$' "$work/console.log" || { say "failed; see $work/console.log"; exit 1; }
