#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run-example: serve examples/NAME/site.lua and say what to try ("-- try: " lines at its top).
#
#   tools/run-example.sh build/rproxy hello
set -u

bin=$1
site=examples/$2/site.lua
if [ ! -f "$site" ]; then
    echo "there is no $site; examples:" $(cd examples 2>/dev/null && ls) >&2
    exit 1
fi
tries=$(sed -n 's/^-- try: //p' "$site")
echo
echo "serving $site; stop with Ctrl-C"
if [ -n "$tries" ]; then
    echo "try in another terminal:"
    sed 's/^/    /' <<<"$tries"
fi
echo
exec "$bin" -p "$site"
