#!/bin/bash
# SPDX-License-Identifier: MIT
#
# cover: which lines of runtime/ the unit specs run, lowest first.
#
#   tools/cover.sh build/cover
set -u

dir=$1
make --no-print-directory -j"${JOBS:-2}" MODE=cover BUILD="$dir" lib >/dev/null || exit 1
find "$dir" -name '*.gcda' -delete
export LUA_PATH="./?.lua;./?/init.lua;./lua/?.lua;./lua/?/init.lua;;"
export RP_TEST_LIB=$PWD/$dir/librproxy_test.so RP_MODE=cover
find spec/unit -name '*_spec.lua' | sort | while read -r spec; do
    timeout 120 luajit "$(command -v busted)" -o TAP "$spec" </dev/null >/dev/null 2>&1 ||
        echo "cover: $spec fails; its lines may be missing"
done
find "$dir/obj" -name '*.gcda' | sort | xargs -r gcov -n 2>/dev/null | awk '
    /^File / { gsub(/\x27/, "", $2); file = $2 }
    /^Lines executed:/ && file ~ /^runtime\/.*\.c$/ {
        split($0, part, /[:% ]+/)
        percent[file] = part[3]; lines[file] = part[5]; file = ""
    }
    END {
        for (f in percent) {
            printf "%6.1f %% of %5d  %s\n", percent[f], lines[f], f | "sort -n"
            all += lines[f]; run += lines[f] * percent[f] / 100
        }
        close("sort -n")
        if (all) printf "%6.1f %% of %5d  all files that ran\n", 100 * run / all, all
    }'
