#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fuzz: build every spec/fuzz/*_fuzz.c with libFuzzer, ASan and UBSan, and run each for some time.
#
#   tools/fuzz.sh build/fuzz SECONDS [DIR for a count file]
#
# What is found new stays in build/fuzz/found/NAME; spec/fuzz/corpus/NAME is only read. One file with
# "main" cannot be linked in: a fuzzer defines LLVMFuzzerTestOneInput(const uint8_t *, size_t).
set -u

out=$1
seconds=$2
sums=${3:-}
only=${T:-}
passed=0
failed=0

mapfile -t sources < <(find spec/fuzz -maxdepth 1 -name '*_fuzz.c' 2>/dev/null | sort)
if [ ${#sources[@]} = 0 ]; then
    echo "fuzz: there are no fuzzers in spec/fuzz"
    exit 0
fi
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
mkdir -p "$out"

for source in "${sources[@]}"; do
    name=$(basename "$source" _fuzz.c)
    [ -z "$only" ] || [ "$only" = "$name" ] || continue
    log=$out/$name.log
    if ! make --no-print-directory MODE=fuzz BUILD="$out" CC="${CLANG:-clang}" \
        FLOORS="${FLOORS:-base net http proxy}" "$out/${name}_fuzz" >"$log" 2>&1; then
        echo "FAIL fuzz  $name: does not build"
        grep -E 'error|undefined|Error' "$log" | head -20 | sed 's/^/    /'
        failed=$((failed + 1))
        continue
    fi
    mkdir -p "$out/found/$name" "$out/crash"
    corpora=("$out/found/$name")
    [ ! -d "spec/fuzz/corpus/$name" ] || corpora+=("spec/fuzz/corpus/$name")
    dict=spec/fuzz/$name.dict
    timeout -k 5 $((seconds + 60)) "$out/${name}_fuzz" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$out/crash/$name-" \
        $([ ! -f "$dict" ] || echo "-dict=$dict") "${corpora[@]}" >"$log" 2>&1
    rc=$?
    if [ $rc = 0 ]; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "ok   fuzz  $name: ${runs:-0} runs in $seconds s"
        passed=$((passed + 1))
    else
        echo "FAIL fuzz  $name: exit status $rc"
        tail -n 60 "$log" | sed 's/^/    /'
        echo "    input: $(sed -n 's/.*Test unit written to //p' "$log" | tail -1)"
        failed=$((failed + 1))
    fi
done
if [ -n "$sums" ]; then
    echo "$passed $failed 0" >"$sums/fuzz.sum"
else
    echo "$passed passed, $failed failed"
fi
[ $failed = 0 ]
