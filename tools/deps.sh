#!/bin/bash
# SPDX-License-Identifier: MIT
#
# deps: install the Debian packages that are missing, and only those.
#
#   tools/deps.sh run              to build and run
#   tools/deps.sh run test bench   to test and to measure as well
#   tools/deps.sh interop          programs of others that `make interop` runs (node and npm are at hand)
#
# A stamp in build/ makes the second call cost nothing; it is older than this file when the lists
# change. When something cannot be installed, it is named and the caller goes on: what is built by
# hand, or not needed by what is asked for, is no reason to stop.
set -u

declare -A PACKAGES=(
    [run]="build-essential pkg-config libuv1-dev libluajit-5.1-dev luajit libssl-dev
        libnghttp2-dev libpcre2-dev zlib1g-dev libbrotli-dev libzstd-dev libc-ares-dev
        libmaxminddb-dev libargon2-dev libcrypt-dev curl"
    [test]="lua-busted lua-socket lua-cjson lua-check clang clang-format libclang-rt-14-dev git
        haproxy nginx-light redis-server postgresql openssl etcd-server etcd-client"
    [interop]="chromium testssl.sh nghttp2-client nghttp2-proxy curl openssl"
    [bench]="haproxy wrk nghttp2-client nginx-light openssl util-linux valgrind binutils
        iproute2"
    [peers]="caddy varnish"
)
POLICY=/usr/sbin/policy-rc.d

missing_of() { # packages -> those that are not installed
    local p
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
    done
}

# Servers start as services when installed; policy-rc.d (101 = not allowed) forbids it.
forbid_services() {
    [ ! -e $POLICY ] || return 1
    printf '#!/bin/sh\nexit 101\n' | $SUDO tee $POLICY >/dev/null && $SUDO chmod +x $POLICY
}

# libclang-rt is versioned with clang: take the one that this system's clang wants.
available() {
    local p have=()
    for p in "$@"; do
        if apt-cache show "$p" >/dev/null 2>&1; then
            have+=("$p")
        elif [ "$p" = libclang-rt-14-dev ]; then
            p=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p')
            [ -n "$p" ] && have+=("libclang-rt-$p-dev")
        else
            echo "deps: no package $p in the archive" >&2
        fi
    done
    echo "${have[@]}"
}

wanted=""
todo=()
for group in "$@"; do
    stamp="build/.deps-$group"
    [ "$stamp" -nt "$0" ] && continue
    todo+=("$stamp")
    wanted+=" ${PACKAGES[$group]}"
done
[ ${#todo[@]} -gt 0 ] || exit 0
mkdir -p build

missing=""
give_up() { # why
    echo "deps: $1; going on without:" $missing >&2
    exit 0
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    missing=$wanted
    give_up "not a Debian system"
fi

# shellcheck disable=SC2086
missing=$(missing_of $wanted)
if [ -n "$missing" ]; then
    SUDO=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || give_up "packages are missing and this is not root"
        SUDO=sudo
    fi
    echo "deps: installing" $missing
    ours=no
    forbid_services && ours=yes
    trap '[ $ours = no ] || $SUDO rm -f $POLICY' EXIT
    apt() {
        $SUDO env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
            -o Acquire::Retries=3 "$@" </dev/null >build/deps.log 2>&1 ||
            { tail -20 build/deps.log >&2; return 1; }
    }
    # A mirror that answers badly, or was changed between list and package, is asked anew.
    for pause in 0 10 30; do
        sleep $pause
        apt update # one broken list of many does no harm
        # shellcheck disable=SC2046
        apt install -y --no-install-recommends $(available $missing)
        missing=$(missing_of $missing)
        # shellcheck disable=SC2046
        [ -n "$(missing_of $(available $missing 2>/dev/null))" ] || break # what no archive has
    done
    [ -z "$missing" ] || give_up "could not install all"
fi
touch "${todo[@]}"
