#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run-specs: build, run specs on both builds, one process per spec file, and count.
#
#   tools/run-specs.sh -b build all | unit | e2e | FILES...
#
# The last line is "N passed, N failed"; the exit status is 0 only when something passed and nothing
# failed. A file that crashes, hangs, or holds no test counts as a failed test.
#
# Environment: JOBS (2) files at a time · MODES ("opt debug") · SPEC_TIMEOUT (240) seconds a file
#              · FAULTS (500) schedules of failing system calls with `all`
#              · FLOORS: build the test library from these floors only · FUZZ_SECONDS (60, for all fuzzers together) with `all`
set -u

JOBS=${JOBS:-2}
MODES=${MODES:-opt debug}
SPEC_TIMEOUT=${SPEC_TIMEOUT:-240}
CC=${CC:-cc}
export LUA_PATH="./?.lua;./?/init.lua;./lua/?.lua;./lua/?/init.lua;;"

needs_proxy() { # does this spec file run the binary?
    case $1 in spec/e2e/* | spec/regress/* | spec/examples/*) return 0 ;; esac
    return 1
}

build_dir() { # mode -> folder
    case $1 in opt | h2) echo "$BUILD" ;; *) echo "$BUILD/$1" ;; esac
}

# ---------------------------------------------------------------- one file (called by xargs)

# Sanitizers. In specs that load the C library into luajit its own leaks cannot be told from ours
# (LuaJIT frees nothing at exit and busted keeps what it ran), so leaks are looked for where rproxy
# is a process of its own, and in the fuzzers.
sanitizer_env() {
    local leaks=1
    needs_proxy "$1" || leaks=0
    echo "ASAN_OPTIONS=detect_leaks=$leaks:abort_on_error=0:detect_stack_use_after_return=1"
    echo "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1"
    needs_proxy "$1" || echo "LD_PRELOAD=$($CC -print-file-name=libasan.so)"
}

run_one() { # mode file
    local mode=$1 file=$2 dir log rc passed failed pending started why=""
    dir=$(build_dir "$mode")
    log=$OUT/$mode/$(sed 's|/|.|g; s|^\.*||' <<<"$file").log
    mkdir -p "$OUT/$mode"
    local vars=(RP_MODE="$mode" RP_BIN="$PWD/$dir/rproxy" RP_TEST_LIB="$PWD/$dir/librproxy_test.so")
    [ "$mode" = h2 ] && vars[0]=RP_MODE=opt && vars+=(RP_CLIENT=h2)
    [ "$mode" = debug ] && mapfile -t -O 3 vars < <(sanitizer_env "$file")
    started=$(date +%s%N)
    { timeout -k 5 "$SPEC_TIMEOUT" env "${vars[@]}" \
        luajit "$(command -v busted)" -o spec/support/tap.lua "$file" </dev/null >"$log" 2>&1; } 2>/dev/null
    rc=$?
    local ms=$((($(date +%s%N) - started) / 1000000))

    passed=$(grep -c '^ok [0-9]* - [^#]' "$log")
    pending=$(grep -c '^ok [0-9]* - # SKIP' "$log")
    failed=$(grep -c '^not ok ' "$log")
    if [ $rc = 124 ] || [ $rc = 137 ]; then
        why="not done after $SPEC_TIMEOUT s"
    elif [ $rc -gt 128 ]; then
        why="killed by signal $((rc - 128))"
    elif ! grep -q '^1\.\.[0-9]' "$log"; then
        why="ended early, exit status $rc"
    elif [ $rc != 0 ] && [ "$failed" = 0 ]; then
        why="exit status $rc"
    elif [ $((passed + pending + failed)) = 0 ]; then
        why="holds no test"
    fi
    [ -z "$why" ] || failed=$((failed + 1))

    { # one write, so that lines of parallel files do not mix
        printf '%-4s %-5s %s: %d passed' "$([ "$failed" = 0 ] && echo ok || echo FAIL)" \
            "$mode" "$file" "$passed"
        [ "$failed" = 0 ] || printf ', %d failed' "$failed"
        [ "$pending" = 0 ] || printf ', %d pending' "$pending"
        printf ' (%d.%02d s)\n' $((ms / 1000)) $((ms % 1000 / 10))
        if [ "$failed" != 0 ]; then
            grep -v '^ok ' "$log" | tail -n 200 | sed 's/^/    /'
            [ -z "$why" ] || echo "    $file: $why"
        fi
    } >"$log.out"
    cat "$log.out"
    echo "$passed $failed $pending" >"$log.sum"
}

if [ "${1:-}" = --one ]; then
    run_one "$2" "$3"
    exit 0
fi

# ---------------------------------------------------------------- all of them

[ "${1:-}" = -b ] || { sed -n '3,15s/^# \{0,1\}//p' "$0"; exit 2; }
export BUILD=$2
shift 2
export OUT=$BUILD/test
rm -rf "$OUT"
mkdir -p "$OUT"
started=$SECONDS

specs_in() { # folders -> spec files
    local d
    for d in "$@"; do [ ! -d "$d" ] || find "$d" -name '*_spec.lua'; done | sort
}
unit_specs() { specs_in spec/unit spec/lua spec/plugins plugins; }
e2e_specs() { specs_in spec/e2e spec/regress spec/examples; }

fuzz=no
over_h2=no
case ${1:-all} in
    all) mapfile -t files < <(unit_specs; e2e_specs); fuzz=yes over_h2=yes ;;
    unit) mapfile -t files < <(unit_specs) ;;
    e2e) mapfile -t files < <(e2e_specs); over_h2=yes ;;
    *) files=("$@") ;;
esac

finish() { # passed failed
    echo
    echo "took $((SECONDS - started)) s; logs in $OUT"
    echo "$1 passed, $2 failed"
    [ "$1" -gt 0 ] && [ "$2" = 0 ]
    exit
}

targets=""
for f in "${files[@]}"; do
    [ -f "$f" ] || { echo "no such spec: $f"; finish 0 1; }
    if needs_proxy "$f"; then targets+=" all"; else targets+=" lib"; fi
done
targets=$(tr ' ' '\n' <<<"$targets" | sort -u | xargs)
for mode in $MODES; do
    [ -n "$targets" ] || break
    # shellcheck disable=SC2086
    make --no-print-directory -j"$JOBS" MODE="$mode" BUILD="$(build_dir "$mode")" \
        ${FLOORS:+FLOORS="$FLOORS"} $targets >"$OUT/build-$mode.log" 2>&1 || {
        grep -E 'error|Error|undefined' "$OUT/build-$mode.log" | head -40
        echo "FAIL $mode: the build failed ($OUT/build-$mode.log)"
        finish 0 1
    }
    grep -E 'warning:' "$OUT/build-$mode.log"
done

# What hooks, routes, fields and limits do is the same for clients of HTTP/2: once more with those.
h2_files=()
if [ $over_h2 = yes ] && [[ " $MODES " = *" opt "* ]]; then
    for name in routing hooks hooks_body hooks_failure headers limits errors upstream; do
        h2_files+=("spec/e2e/${name}_spec.lua")
    done
fi
{
    for f in "${files[@]}"; do
        for mode in $MODES; do printf '%s\0%s\0' "$mode" "$f"; done
    done
    for f in "${h2_files[@]}"; do printf '%s\0%s\0' h2 "$f"; done
} | xargs -0 -r -n 2 -P "$JOBS" "$0" --one

if [ $fuzz = yes ] && [[ " $MODES " = *" debug "* ]]; then
    JOBS=$JOBS tools/faults.sh "$(build_dir debug)" 0 "$((${FAULTS:-500} - 1))" "$OUT"
fi

if [ $fuzz = yes ] && compgen -G 'spec/fuzz/*_fuzz.c' >/dev/null; then
    JOBS=$JOBS tools/fuzz.sh "$BUILD/fuzz" "all:${FUZZ_SECONDS:-60}" "$OUT"
fi

totals=$(cat "$OUT"/*.sum "$OUT"/*/*.sum 2>/dev/null |
    awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }')
read -r passed failed pending <<<"$totals"
jobs=$((${#files[@]} * $(wc -w <<<"$MODES") + ${#h2_files[@]}))
sums=$(find "$OUT" -mindepth 2 -name '*.sum' | wc -l)
[ "$sums" = "$jobs" ] || failed=$((failed + jobs - sums)) # a runner that died left no count
[ "$failed" = 0 ] || { echo; echo "failed:"; cat "$OUT"/*/*.out | grep '^FAIL'; }
[ "$pending" = 0 ] || echo "$pending pending"
finish "$passed" "$failed"
