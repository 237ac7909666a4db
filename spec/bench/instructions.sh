#!/bin/bash
# SPDX-License-Identifier: MIT
#
# instructions: count what one request costs the proxy in user-space instructions, and compare with
# instructions.txt. Unlike time, the count does not depend on who else uses the machine.
#
#   spec/bench/instructions.sh PROGRAM            fails when a count grew by more than 5 %
#   spec/bench/instructions.sh PROGRAM --update   writes instructions.txt anew
#
# PROGRAM is spec/bench/instructions.c, linked with the optimised objects. It runs twice under
# callgrind, with N and 3 N requests, of which only the loop is counted; half of the difference is N
# requests without start and end. Another compiler makes other numbers: then they are only shown.
set -eu

program=$1
update=${2:-}
here=$(dirname "$0")
stored=$here/instructions.txt
requests=1000
tolerance=5 # percent
compiler=$(readelf --string-dump=.comment "$program" | sed -n 's/.*\] *\(.*\)/\1/p' | head -1)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The child (client and origin) writes a file of its own, named by its pid.
count() { # site, requests -> instructions
    valgrind --tool=callgrind --toggle-collect=rp_loop_run \
        --callgrind-out-file="$folder/%p" "$program" "$here/sites/$1.lua" "$2" \
        >"$folder/log" 2>&1 &
    local pid=$!
    if ! wait $pid; then
        cat "$folder/log" >&2
        return 1
    fi
    awk '$1 == "totals:" { print $2 }' "$folder/$pid"
}

per_request() { # site -> instructions
    local few many
    few=$(count "$1" $requests)
    many=$(count "$1" $((3 * requests)))
    echo $(((many - few) / (2 * requests)))
}

known() { # name -> what is stored
    awk -v name="$1" '$1 == name { print $2 }' "$stored"
}

plain=$(per_request proxy)
luanoop=$(per_request luanoop)

if [ "$update" = --update ]; then
    {
        echo "# User-space instructions per request, libraries included (spec/bench/instructions.sh)."
        echo "# $compiler"
        echo "plain $plain"
        echo "luanoop $luanoop"
    } >"$stored"
fi

same_compiler=$(grep -cxF "# $compiler" "$stored" || true)
failed=0
for name in plain luanoop; do
    now=${!name}
    before=$(known $name)
    verdict=ok
    if [ $((now * 100)) -gt $((before * (100 + tolerance))) ]; then
        verdict="more than $tolerance % over"
        [ "$same_compiler" = 0 ] || failed=1
    fi
    printf '%-8s %6d instructions per request, stored %6d: %s\n' $name "$now" "$before" "$verdict"
done
[ "$same_compiler" != 0 ] || echo "(the numbers are those of another compiler: $compiler was used)"
exit $failed
