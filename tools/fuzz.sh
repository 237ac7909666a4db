#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fuzz: build every spec/fuzz/*_fuzz.c with libFuzzer, ASan and UBSan, and run each for some time,
# JOBS (2) at once.
#
#   tools/fuzz.sh build/fuzz SECONDS [DIR for a count file]
#   tools/fuzz.sh build/fuzz all:SECONDS ..      so many seconds for all together
#
# What is found new stays in build/fuzz/found/NAME; spec/fuzz/corpus/NAME is only read. T=NAME runs
# one; MERGE=1 puts what reaches new code into the corpus instead, and drops what does not. One file
# with "main" cannot be linked in: a fuzzer defines LLVMFuzzerTestOneInput(const uint8_t *, size_t).
set -u

JOBS=${JOBS:-2}

run_fuzzer() { # out seconds name
    local out=$1 seconds=$2 name=$3 log=$1/$3.log dict=spec/fuzz/$3.dict rc
    mkdir -p "$out/found/$name" "$out/crash"
    local corpora=("$out/found/$name")
    [ ! -d "spec/fuzz/corpus/$name" ] || corpora+=("spec/fuzz/corpus/$name")
    timeout -k 5 $((seconds + 60)) "$out/${name}_fuzz" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$out/crash/$name-" \
        $([ ! -f "$dict" ] || echo "-dict=$dict") "${corpora[@]}" >"$log" 2>&1
    rc=$?
    {
        if [ $rc = 0 ]; then
            echo "ok   fuzz  $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
                "runs in $seconds s"
        else
            echo "FAIL fuzz  $name: exit status $rc"
            tail -n 60 "$log" | sed 's/^/    /'
            echo "    input: $(sed -n 's/.*Test unit written to //p' "$log" | tail -1)"
        fi
    } >"$log.out"
    cat "$log.out"
}

merge_corpus() { # out name
    local out=$1 name=$2 corpus=spec/fuzz/corpus/$2 fresh=$1/merged/$2
    rm -rf "$fresh" && mkdir -p "$fresh" "$corpus" "$out/found/$name"
    "$out/${name}_fuzz" -merge=1 -use_counters=0 "$fresh" "$corpus" "$out/found/$name" >"$out/$name.log" 2>&1 ||
        { echo "FAIL merge $name ($out/$name.log)"; return 1; }
    rm -f "${corpus:?}"/*
    cp "$fresh"/* "$corpus"/
    echo "ok   merge $name: $(find "$corpus" -type f | wc -l) files"
}

case ${1:-} in
    --run) run_fuzzer "$2" "$3" "$4"; exit 0 ;;
    --merge) merge_corpus "$2" "$3"; exit ;;
esac

out=$1
seconds=$2
sums=${3:-}

names=()
for source in spec/fuzz/*_fuzz.c; do
    name=$(basename "$source" _fuzz.c)
    [ ! -f "$source" ] || [ "${T:-$name}" != "$name" ] || names+=("$name")
done
if [ ${#names[@]} = 0 ]; then
    echo "fuzz: there are no such fuzzers in spec/fuzz"
    exit 1
fi
if [ "${seconds#all:}" != "$seconds" ]; then
    seconds=$((${seconds#all:} * JOBS / ${#names[@]}))
    [ $seconds -ge 1 ] || seconds=1
fi
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
mkdir -p "$out"

passed=0
failed=0
build() { # names
    make --no-print-directory -k -j"$JOBS" MODE=fuzz BUILD="$out" CC="${CLANG:-clang}" \
        FLOORS="${FLOORS:-base net shm http proxy}" $(printf "$out/%s_fuzz " "$@") >"$out/build.log" 2>&1
}
built=("${names[@]}")
if ! build "${names[@]}"; then
    built=()
    for name in "${names[@]}"; do
        if build "$name"; then
            built+=("$name")
        else
            echo "FAIL fuzz  $name: does not build"
            grep -E 'error|undefined|Error' "$out/build.log" | head -20 | sed 's/^/    /'
            failed=$((failed + 1))
        fi
    done
fi

if [ "${MERGE:-0}" = 1 ]; then
    for name in "${built[@]}"; do "$0" --merge "$out" "$name" || failed=$((failed + 1)); done
    [ $failed = 0 ]
    exit
fi

for name in "${built[@]}"; do
    rm -f "$out/$name.log.out"
    printf '%s\0%s\0%s\0' "$out" "$seconds" "$name"
done | xargs -0 -r -n 3 -P "$JOBS" "$0" --run
for name in "${built[@]}"; do # a runner that died left no word
    if grep -q '^ok ' "$out/$name.log.out" 2>/dev/null; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
done
if [ -n "$sums" ]; then
    echo "$passed $failed 0" >"$sums/fuzz.sum"
else
    echo "$passed passed, $failed failed"
fi
[ $failed = 0 ]
