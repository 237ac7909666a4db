#!/bin/bash
# SPDX-License-Identifier: MIT
#
# faults: seeded fault injection against the debug build (docs/internals/faults.md).
#
#   tools/faults.sh BUILD FIRST LAST [DIR for a count file]
#   tools/faults.sh BUILD processes FIRST LAST
#
# BUILD is the folder of a debug build: librproxy_test.so, and for processes rproxy. Schedules FIRST to
# LAST run in JOBS (2) processes. Environment: RP_FAULT_TABLE=1 prints which failure came how often,
# RP_FAULT_TRACE=1 every failure and every skip of time, RP_FAULT_LOG=1 the proxy's own log.
set -u

build=$1
CC=${CC:-cc}
JOBS=${JOBS:-2}
export LUA_PATH="./?.lua;./?/init.lua;./lua/?.lua;./lua/?/init.lua;;"
export RP_TEST_LIB=$PWD/$build/librproxy_test.so RP_BIN=$PWD/$build/rproxy
[[ $build != /* ]] || export RP_TEST_LIB=$build/librproxy_test.so RP_BIN=$build/rproxy
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

if [ "$2" = processes ]; then
    exec luajit spec/faults/processes.lua "$3" "$4"
fi

first=$2
last=$3
sums=${4:-}
out=$build/faults
started=$SECONDS
mkdir -p "$out"
rm -f "$out"/*.log
"$CC" -O1 -fPIC -shared -o "$out/clock.so" spec/faults/clock.c || exit 1

share=$(((last - first) / JOBS + 1))
pids=()
for ((at = first; at <= last; at += share)); do
    to=$((at + share - 1 < last ? at + share - 1 : last))
    LD_PRELOAD="$("$CC" -print-file-name=libasan.so) $out/clock.so" \
        luajit spec/faults/run.lua "$at" "$to" >"$out/$at.log" 2>&1 &
    pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done

# Each outcome of each point with its count; what never came is marked.
table() {
    awk '$1 == "count" {
            if (!(($2, $3) in n)) { if (!($2 in row)) order[++points] = $2; row[$2] = row[$2] " " $3 }
            n[$2, $3] += $4
        }
        END {
            for (p = 1; p <= points; p++) {
                line = sprintf("%-12s", order[p])
                k = split(row[order[p]], word, " ")
                for (i = 1; i <= k; i++) {
                    line = line " " word[i] "=" n[order[p], word[i]]
                    if (n[order[p], word[i]] == 0) never++
                }
                print line
            }
            printf "%d outcomes never came\n", never
        }' "$out"/*.log
}

[ -z "${RP_FAULT_TABLE:-}" ] || table
[ -z "${RP_FAULT_TRACE:-}" ] || grep -hv '^count ' "$out"/*.log
if [ $failed = 0 ]; then
    echo "ok   faults: schedules $first to $last in $((SECONDS - started)) s"
else
    echo "FAIL faults: schedules $first to $last"
    grep -hv '^count \|schedules$' "$out"/*.log | sed 's/^/    /' | tail -n 120
fi
[ -z "$sums" ] || echo "$((1 - failed)) $failed 0" >"$sums/faults.sum"
exit $failed
