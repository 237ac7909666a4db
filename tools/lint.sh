#!/bin/bash
# SPDX-License-Identifier: MIT
#
# lint: everything about the sources that can be checked without running them.
#
#   tools/lint.sh [check ...]
#       checks: gcc clang headers floors banned layouts luacheck format shell paths
#
# Each check counts as one in the last line, "N passed, N failed". JOBS (2) of them run at once.
# LINT_BUILD (build/lint): where the objects of `gcc` go. Who builds with WERROR=1 anyway names that
# folder, and they are made once.
set -u

CC=${CC:-cc}
CLANG=${CLANG:-clang}
JOBS=${JOBS:-2}
CHECKS=${*:-gcc clang headers floors banned layouts luacheck format shell paths}

mapfile -t C_FILES < <(find runtime -name '*.c' | sort)
mapfile -t H_FILES < <(find runtime -name '*.h' | sort)
mapfile -t OTHER_C < <(find spec -name node_modules -prune -o -name '*.[ch]' -print | sort)
FLAGS="-std=gnu11 -Wall -Wextra -Wshadow -Wconversion -Wvla -Werror -D_GNU_SOURCE -Iruntime
    -DRP_VERSION=\"0\" $(pkg-config --cflags libuv luajit)"

all_files() { # every file of the project, built ones excepted
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -co --exclude-standard
    else
        find . -type f ! -path './build/*' ! -path './.git/*' | sed 's|^\./||'
    fi | while read -r f; do [ ! -f "$f" ] || echo "$f"; done | sort -u
}

# A real compilation: some warnings need the optimiser.
check_gcc() {
    make --no-print-directory -j"$JOBS" WERROR=1 BUILD="${LINT_BUILD:-build/lint}" CC="$CC" objects \
        >build/lint.log 2>&1 || { grep -E 'error|warning' build/lint.log | head -60; return 1; }
    echo "gcc: ${#C_FILES[@]} files compile with -Werror"
}

check_clang() {
    printf '%s\n' "${C_FILES[@]}" | xargs -r -P "$JOBS" -n 8 "$CLANG" $FLAGS -fsyntax-only || return 1
    echo "clang: ${#C_FILES[@]} files pass with -Werror"
}

# Each header stands alone, for C and for ffi.cdef. Two kinds say in their comment what they are:
# "for the .c files of x/ only" is not for cdef; "written by tools/x.lua" is to be as that writes it.
check_headers() {
    local h tool bad=0 public=() private=0 generated=0
    for h in "${H_FILES[@]}"; do
        tool=$(head -12 "$h" | grep -o 'written by tools/[a-z_]*\.lua' | sed 's/.* //')
        if [ -n "$tool" ]; then
            luajit "$tool" | cmp -s - "$h" || { echo "$h: run luajit $tool > $h"; bad=1; }
            generated=$((generated + 1))
            continue
        fi
        if head -12 "$h" | grep -q 'for the \.c files of'; then
            private=$((private + 1))
        else
            public+=("$h")
        fi
        echo "#include \"${h#runtime/}\"" |
            $CC $FLAGS -fsyntax-only -x c - || { echo "$h: does not compile alone"; bad=1; }
    done
    luajit -e 'package.path = "./?.lua;" .. package.path
        local c, bad = require("spec.support.c"), 0
        for _, h in ipairs(arg) do
            local ok, err = pcall(c.declare, { (h:gsub("^runtime/", "")) })
            if not ok then bad = bad + 1; print(h .. ": " .. tostring(err)) end
        end
        os.exit(bad == 0 and 0 or 1)' /dev/null "${public[@]}" || bad=1
    [ $bad = 0 ] && echo "headers: ${#public[@]} stand alone in C and in ffi.cdef," \
        "$private private ones in C, $generated generated ones are up to date"
}

check_floors() { awk -f tools/floors.awk "${C_FILES[@]}" "${H_FILES[@]}"; }

check_banned() { luajit tools/banned.lua "${C_FILES[@]}" "${H_FILES[@]}"; }

check_luacheck() {
    local dirs=() d
    for d in lua plugins examples spec conf tools; do [ ! -d $d ] || dirs+=("$d"); done
    luacheck --no-color --formatter plain "${dirs[@]}" || return 1
    echo "luacheck: $(find "${dirs[@]}" -name '*.lua' | wc -l) files are clean"
}

check_format() {
    local files
    mapfile -t files < <(grep -L 'written by tools/' "${C_FILES[@]}" "${H_FILES[@]}" "${OTHER_C[@]}")
    printf '%s\0' "${files[@]}" | xargs -0 -r -n 32 clang-format --dry-run -Werror ||
        { echo "format: run make fmt"; return 1; }
    echo "format: ${#files[@]} files are in the one style"
}

# What a binary upgrade hands on is as its name says.
check_layouts() {
    luajit tools/layouts.lua
}

check_shell() {
    local f n=0 bad=0
    while read -r f; do
        n=$((n + 1))
        bash -n "$f" || bad=1
    done < <(all_files | grep -E '\.sh$|^\.ci/run$')
    [ $bad = 0 ] && echo "shell: $n scripts parse"
}

# A path of somebody's machine is a mistake wherever it stands; and every source names its licence.
check_paths() {
    local parent pattern bad=0 f n found one two files
    parent=$(dirname "$PWD")
    pattern='/home/[a-z]+/|/root/|/Users/'
    case $parent in
        / | /tmp | /var/tmp | /opt | /srv | /mnt | /usr | /usr/* | /var/*) ;;
        *) pattern+="|$parent/" ;;
    esac
    mapfile -t files < <(all_files)
    n=${#files[@]}
    found=$(printf '%s\0' "${files[@]}" | grep -zvx 'tools/lint.sh' | xargs -0 -r grep -nHIE "$pattern")
    [ -z "$found" ] || { echo "$found"; bad=1; }
    for f in "${files[@]}"; do
        case $f in
            *.c | *.h | *.tbl | *.lua | *.sh | *.awk | Makefile)
                { read -r one; read -r two; } <"$f"
                [[ $one$two = *"SPDX-License-Identifier: MIT"* ]] ||
                    { echo "$f: no SPDX line at its top"; bad=1; } ;;
        esac
    done
    [ $bad = 0 ] && echo "paths: $n files name no machine of ours, sources name the licence"
}

mkdir -p build
failed=0
passed=0
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for check in $CHECKS; do # what each says is shown in this order
    while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n; done
    { "check_$check" && touch "$out/$check.ok"; } >"$out/$check" 2>&1 &
done
wait
for check in $CHECKS; do
    cat "$out/$check"
    if [ -e "$out/$check.ok" ]; then
        passed=$((passed + 1))
    else
        echo "lint: $check FAILED"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
