#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run-specs: build, run specs on both builds, one process per spec file, and count.
#
#   tools/run-specs.sh -b build all | unit | e2e | matrix | FILES...
#
# `all` and `e2e` also run the e2e specs over other protocols (OVER); `matrix` runs these over each
# protocol on both builds, and nothing else. A mode is a build, or build.protocol: opt.tls.
# spec/support/protocol.lua says what a protocol is and which files and tests are left out, and why.
#
# The last line is "N passed, N failed"; the exit status is 0 only when something passed and nothing
# failed. A file that crashes, hangs, or holds no test counts as a failed test.
#
# Files mostly wait: further ones start while one of JOBS processors is idle. Those of
# spec/support/longest.txt start first, so that none of them ends alone. Last comes a table of the
# dearest files.
#
# Environment: JOBS (2) processors · AT_ONCE (five times as many) files at a time, at most
#              · MODES ("opt debug") · SPEC_TIMEOUT (900) seconds a file
#              · OVER ("opt.tls debug.h2-h2"): modes for the e2e specs; "": none
#              · MATRIX (all): modes for `matrix`
#              · FAULTS (500) schedules of failing system calls with `all`
#              · FLOORS: build the test library from these floors only · FUZZ_SECONDS (60, for all fuzzers together) with `all`
set -u

JOBS=${JOBS:-2}
AT_ONCE=${AT_ONCE:-$((JOBS * 5))}
MODES=${MODES:-opt debug}
SPEC_TIMEOUT=${SPEC_TIMEOUT:-900}
OVER=${OVER-opt.tls debug.h2-h2}
MATRIX=${MATRIX:-opt.tls opt.h2 opt.h2-tls opt.h2-h2 debug.tls debug.h2 debug.h2-tls debug.h2-h2}
CC=${CC:-cc}
export LUA_PATH="./?.lua;./?/init.lua;./lua/?.lua;./lua/?/init.lua;;"

needs_proxy() { # does this spec file run the binary?
    case $1 in spec/e2e/* | spec/regress/* | spec/examples/*) return 0 ;; esac
    runs_inside "$1"
}

runs_inside() { # ... and is run by it (rproxy test)?
    case $1 in plugins/* | spec/kit/*) return 0 ;; esac
    return 1
}

build_of() { # mode -> build
    echo "${1%%.*}"
}

protocol_of() { # mode -> protocol
    case $1 in *.*) echo "${1#*.}" ;; *) echo h1 ;; esac
}

build_dir() { # mode -> folder
    case $(build_of "$1") in opt) echo "$BUILD" ;; *) echo "$BUILD/$(build_of "$1")" ;; esac
}

# ---------------------------------------------------------------- one file (called by the queue)

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
    local mode=$1 file=$2 dir log rc passed failed pending left_out why=""
    dir=$(build_dir "$mode")
    log=$OUT/$mode/$(sed 's|/|.|g; s|^\.*||' <<<"$file").log
    mkdir -p "$OUT/$mode"
    local vars=(RP_MODE="$(build_of "$mode")" RP_BIN="$PWD/$dir/rproxy"
        RP_TEST_LIB="$PWD/$dir/librproxy_test.so" RP_PROTOCOL="$(protocol_of "$mode")")
    [ "$(build_of "$mode")" = debug ] && mapfile -t -O 4 vars < <(sanitizer_env "$file")
    local runner=(luajit "$(command -v busted)")
    ! runs_inside "$file" || runner=("$PWD/$dir/rproxy" test)
    local started=$EPOCHREALTIME
    { timeout -k 5 "$SPEC_TIMEOUT" env "${vars[@]}" \
        "${runner[@]}" -o spec/support/tap.lua "$file" </dev/null >"$log" 2>&1; } 2>/dev/null
    rc=$?
    # Seconds on the clock, and of the processors: its own and of all that it started and waited for.
    local ended=$EPOCHREALTIME wall cpu
    times >"$log.time"
    read -r wall cpu < <(awk -v wall="$started $ended" '
        function seconds(t, part) { split(t, part, /[ms]/); return part[1] * 60 + part[2] }
        { cpu = seconds($1) + seconds($2) }
        END { split(wall, at, " "); printf "%.1f %.1f\n", at[2] - at[1], cpu }' "$log.time")

    passed=$(grep -c '^ok [0-9]* - [^#]' "$log")
    left_out=$(grep -c '^ok [0-9]* - # SKIP .*# left out, ' "$log")
    pending=$(($(grep -c '^ok [0-9]* - # SKIP' "$log") - left_out))
    failed=$(grep -c '^not ok ' "$log")
    if [ $rc = 124 ] || [ $rc = 137 ]; then
        why="not done after $SPEC_TIMEOUT s"
    elif [ $rc -gt 128 ]; then
        why="killed by signal $((rc - 128))"
    elif ! grep -q '^1\.\.[0-9]' "$log"; then
        why="ended early, exit status $rc"
    elif [ $rc != 0 ] && [ "$failed" = 0 ]; then
        why="exit status $rc"
    elif [ $((passed + pending + left_out + failed)) = 0 ]; then
        why="holds no test"
    fi
    if [ -n "$why" ]; then
        failed=$((failed + 1))
        # What it was doing: the last test that began, when it has not ended.
        why+=$(grep '^# now \|^ok \|^not ok ' "$log" | tail -n 1 | sed -n 's/^# now /, in: /p')
    fi

    { # one write, so that lines of parallel files do not mix
        printf '%-4s %-9s %s: %d passed' "$([ "$failed" = 0 ] && echo ok || echo FAIL)" \
            "$mode" "$file" "$passed"
        [ "$failed" = 0 ] || printf ', %d failed' "$failed"
        [ "$pending" = 0 ] || printf ', %d pending' "$pending"
        [ "$left_out" = 0 ] || printf ', %d left out' "$left_out"
        printf ' (%.1f s, %.1f s of processor)\n' "$wall" "$cpu"
        if [ "$failed" != 0 ]; then
            grep -v '^ok \|^# now ' "$log" | tail -n 200 | sed 's/^/    /'
            [ -z "$why" ] || echo "    $file: $why"
        fi
    } >"$log.out"
    cat "$log.out"
    echo "$passed $failed $pending $wall $cpu $mode $file" >"$log.sum"
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
unit_specs() { specs_in spec/unit spec/lua spec/plugins spec/kit plugins; }
e2e_specs() { specs_in spec/e2e spec/regress spec/examples; }

files=()
fuzz=no
over=""
case ${1:-all} in
    all) mapfile -t files < <(unit_specs; e2e_specs); fuzz=yes over=$OVER ;;
    unit) mapfile -t files < <(unit_specs) ;;
    e2e) mapfile -t files < <(e2e_specs); over=$OVER ;;
    matrix) over=$MATRIX ;;
    *) files=("$@") ;;
esac

# Modes of another protocol run where their build is wanted.
wanted=""
for mode in $over; do
    [[ " $MODES " = *" $(build_of "$mode") "* ]] && wanted+=" $mode"
done
over_files=()
[ -z "$wanted" ] || mapfile -t over_files < <(specs_in spec/e2e | luajit -e '
    local protocol = require("spec.support.protocol")
    for file in io.lines() do if not protocol.why_alone(file) then print(file) end end')

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
[ ${#over_files[@]} = 0 ] || targets+=" all"
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

# One certificate serves all of them.
if [[ $wanted = *tls* ]]; then
    export RP_PROTOCOL_DIR=$PWD/$OUT/certificate
    mkdir -p "$RP_PROTOCOL_DIR"
    RP_PROTOCOL=tls luajit -e 'require("spec.support.protocol").prepare()'
fi

# ---------------------------------------------------------------- when each of them starts

# "mode file" lines: the longest files first, the others as they come.
queue() {
    {
        for f in "${files[@]}"; do
            for mode in $MODES; do echo "$mode $f"; done
        done
        for f in "${over_files[@]}"; do
            for mode in $wanted; do echo "$mode $f"; done
        done
    } | awk 'NR == FNR { if (!/^#/) rank[$1] = FNR; next }
        { print ($2 in rank ? rank[$2] : 1e6), FNR, $0 }' spec/support/longest.txt - |
        sort -n -k1,1 -k2,2 | cut -d ' ' -f 3-
}

# Of this container where the kernel says so, else of the machine.
BUSY=/sys/fs/cgroup/cpu.stat
[ -r $BUSY ] || BUSY=/proc/stat

busy_ms() { # of processors, until now
    awk '$1 == "usage_usec" { print int($2 / 1000); exit }
        $1 == "cpu" { print ($2 + $3 + $4 + $7 + $8) * 10; exit }' $BUSY
}

# Is a part of JOBS processors idle, by what was busy in the last fifth of a second?
has_idle() {
    local before
    before=$(busy_ms)
    sleep 0.2
    [ $(($(busy_ms) - before)) -lt $((JOBS * 170)) ]
}

# A run that is broken off takes along what it runs: timeout(1), which is in a group of its own.
stop_all() {
    local pid
    for pid in $(jobs -p); do
        # shellcheck disable=SC2046
        kill $(cat "/proc/$pid/task/$pid/children" 2>/dev/null) "$pid" 2>/dev/null
    done
    echo "broken off"
    read -r passed failed < <(cat "$OUT"/*/*.sum 2>/dev/null |
        awk '{ p += $1; f += $2 } END { print p + 0, f + 1 }')
    finish "$passed" "$failed"
}
trap stop_all INT TERM

running=0
while read -r mode file; do
    while [ $running -gt "$JOBS" ] && { [ $running -ge "$AT_ONCE" ] || ! has_idle; }; do
        running=$(jobs -rp | wc -l)
        [ $running -lt "$AT_ONCE" ] || sleep 0.1
    done
    "$0" --one "$mode" "$file" </dev/null &
    running=$(jobs -rp | wc -l)
done < <(queue)
wait
trap - INT TERM

if [ $fuzz = yes ] && [[ " $MODES " = *" debug "* ]]; then
    JOBS=$JOBS tools/faults.sh "$(build_dir debug)" 0 "$((${FAULTS:-500} - 1))" "$OUT"
fi

if [ $fuzz = yes ] && compgen -G 'spec/fuzz/*_fuzz.c' >/dev/null; then
    JOBS=$JOBS tools/fuzz.sh "$BUILD/fuzz" "all:${FUZZ_SECONDS:-60}" "$OUT"
fi

dearest() { # column, name: of the count files
    cat "$OUT"/*/*.sum 2>/dev/null | sort -rn -k "$1,$1" | head -n 25 |
        awk -v at="$1" -v name="$2" 'BEGIN { print name }
            { sub(".*/", "", $7); sub("_spec[.]lua$", "", $7); printf "%6.1f %-11s %s\n", $at, $6, $7 }'
}

totals=$(cat "$OUT"/*.sum "$OUT"/*/*.sum 2>/dev/null |
    awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }')
read -r passed failed pending <<<"$totals"
jobs=$((${#files[@]} * $(wc -w <<<"$MODES") + ${#over_files[@]} * $(wc -w <<<"$wanted")))
sums=$(find "$OUT" -mindepth 2 -name '*.sum' | wc -l)
[ "$sums" = "$jobs" ] || failed=$((failed + jobs - sums)) # a runner that died left no count
[ "$failed" = 0 ] || { echo; echo "failed:"; cat "$OUT"/*/*.out | grep '^FAIL'; }
[ "$pending" = 0 ] || echo "$pending pending"
if [ ${#over_files[@]} != 0 ]; then
    echo
    echo "${#over_files[@]} e2e files also over:$wanted; those of one protocol are listed in" \
        "spec/support/protocol.lua"
    grep -ho '# left out, .*' "$OUT"/*/*.log | sort | uniq -c | sort -rn |
        sed 's/# left out, //' |
        awk '{ n += $1; print "  " $0 } END { print n + 0 " tests left out" }'
fi
echo
paste <(dearest 5 "s of processors") <(dearest 4 "s on the clock") | awk -F '\t' '{ printf "%-46s %s\n", $1, $2 }'
finish "$passed" "$failed"
