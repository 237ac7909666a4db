#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ship: what is installed works from anywhere, uninstall leaves nothing, and the tarball builds.
#
#   tools/ship.sh build
#
# Everything happens in one temporary folder. The last line is "N passed, N failed".
set -u

build=$1
here=$PWD
dir=$(mktemp -d)
server=""
passed=0
failed=0
trap '[ -z "$server" ] || kill "$server"; rm -rf "$dir"' EXIT

check() { # what command...
    local what=$1
    shift
    if "$@" >"$dir/log" 2>&1; then
        echo "ok   ship  $what"
        passed=$((passed + 1))
    else
        echo "FAIL ship  $what"
        sed 's/^/    /' "$dir/log" | tail -n 40
        failed=$((failed + 1))
    fi
}

remake() { make --no-print-directory BUILD="$build" DESTDIR="$dir/inst" PREFIX="$prefix" "$@"; }

# A site far from the sources, with a built-in plugin, a file of its own and a port that is free.
write_site() {
    mkdir -p "$dir/site"
    echo 'return { say = "far from home\n" }' >"$dir/site/words.lua"
    cat >"$dir/site/site.lua" <<EOF
local rp = require("rproxy")
local words = require("words")
return rp.site {
    workers = 1,
    listeners = { rp.listen { "unix:$dir/site/http.sock" } },
    use = { "request-id" },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/*", content = function(req) return req:exit(200, words.say) end },
    } } },
}
EOF
    chmod 755 "$dir" "$dir/site"
}

serves() { # from / and with an environment that is empty
    local rc=1
    (cd / && exec env -i "$dir/inst$prefix/bin/rproxy" -p "$dir/site/site.lua") &
    server=$!
    for _ in $(seq 100); do
        [ -S "$dir/site/http.sock" ] && kill -0 "$server" && break
        sleep 0.1
    done
    curl -si --max-time 5 --unix-socket "$dir/site/http.sock" http://x/ | tee "$dir/answer"
    grep -q 'far from home' "$dir/answer" && grep -qi '^x-request-id: ' "$dir/answer" && rc=0
    kill "$server" && wait "$server" || rc=1
    server=""
    return $rc
}

default_site_checks() {
    (cd / && env -i "$dir/inst$prefix/bin/rproxy" -t -p "$dir/inst$prefix/share/rproxy/conf/site.lua")
}

# Warnings that are not about our unit (programs or manuals that are not on this machine) are noise.
unit_is_sane() {
    local unit=$dir/inst$prefix/lib/systemd/system/rproxy.service
    grep -q "^ExecStart=$prefix/bin/rproxy " "$unit" || return 1
    ! grep -n '@' "$unit" || return 1
    command -v systemd-analyze >/dev/null || return 0
    ! systemd-analyze verify "$unit" 2>&1 | grep 'rproxy.service' | grep -v 'is not executable'
}

nothing_is_left() {
    remake uninstall || return 1
    ! find "$dir/inst" ! -type d | grep .
}

tarball_builds() {
    local version
    make --no-print-directory dist || return 1
    version=$(sed -n 's/^VERSION := //p' Makefile)
    mkdir "$dir/dist" && tar -xzf "dist/rproxy-$version.tar.gz" -C "$dir/dist" || return 1
    cd "$dir/dist/rproxy-$version" || return 1
    env -u MAKEFLAGS -u MAKELEVEL make -j"${JOBS:-2}" &&
        build/rproxy -t -p conf/site.lua && build/rproxy -t -p examples/hello/site.lua
    local rc=$?
    cd "$here" && return $rc
}

write_site
for prefix in /usr /usr/local; do
    check "install under $prefix" remake install
    check "what is under $prefix serves a site from elsewhere" serves
    check "the default site of $prefix is good" default_site_checks
    check "the systemd unit of $prefix is good" unit_is_sane
    check "uninstall from $prefix leaves nothing" nothing_is_left
done
if git rev-parse --git-dir >/dev/null 2>&1; then
    check "the tarball builds and runs" tarball_builds
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
