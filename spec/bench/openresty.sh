#!/bin/bash
# SPDX-License-Identifier: MIT
#
# openresty: unpack Debian's Lua module for nginx, and the LuaJIT that it needs, into a folder.
#
#   spec/bench/openresty.sh DIR
#
# That LuaJIT (OpenResty's) and the one that rproxy is built with exclude each other as packages, so
# nothing is installed: nginx, which is, loads the module from there. Does nothing when it was done.
set -eu

DIR=$1
PACKAGES="libnginx-mod-http-ndk libnginx-mod-http-lua lua-resty-core lua-resty-lrucache
    libluajit2-5.1-2 libluajit2-5.1-common libpcre3"

[ ! -e "$DIR/.done" ] || exit 0
command -v apt-get >/dev/null || { echo "not a Debian system"; exit 1; }
rm -rf "$DIR"
mkdir -p "$DIR/debs"
cd "$DIR/debs"
# shellcheck disable=SC2086
apt-get -qq -o APT::Sandbox::User=root download $PACKAGES ||
    { apt-get -qq update && apt-get -qq -o APT::Sandbox::User=root download $PACKAGES; }
for deb in *.deb; do dpkg -x "$deb" ..; done
touch ../.done
