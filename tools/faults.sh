#!/bin/bash
# SPDX-License-Identifier: MIT
#
# faults: seeded fault injection against the debug build.
#
#   tools/faults.sh BUILD FIRST LAST [DIR for a count file]
#
# BUILD is the folder of a debug build (librproxy_test.so, rproxy). Environment: JOBS (2), RP_FAULT_TABLE=1
# prints which outcome came how often.
set -u

build=$1
first=$2
last=$3
CC=${CC:-cc}
export LUA_PATH="./?.lua;./?/init.lua;./lua/?.lua;./lua/?/init.lua;;"
export RP_TEST_LIB=$build/librproxy_test.so RP_BIN=$build/rproxy
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
mkdir -p "$build/faults"
"$CC" -O1 -fPIC -shared -o "$build/faults/clock.so" spec/faults/clock.c || exit 1
LD_PRELOAD="$("$CC" -print-file-name=libasan.so) $build/faults/clock.so" \
    luajit spec/faults/run.lua "$first" "$last"
