# SPDX-License-Identifier: MIT
#
# floors: a file of runtime/ includes its own floor and lower ones; siblings are blind to each
# other; each library has its doorkeepers.
#
#   awk -f tools/floors.awk $(find runtime -name '*.[ch]')

BEGIN {
    n = split("base=0 shm=1 net=1 http=2 filter=3 cache=3 proxy=4 script=5 process=6", word, " ")
    for (i = 1; i <= n; i++) {
        split(word[i], pair, "=")
        rank[pair[1]] = pair[2]
    }
    # header -> pattern of the files that may include it (paths below runtime/)
    keeper["^uv\\.h$"] = "^(net|process)/"
    keeper["^openssl/"] = "^(net/tls|script/abi_crypto)"
    keeper["^pcre2\\.h$"] = "^base/regex\\.c$"
    keeper["^(zstd|brotli/.*)\\.h$"] = "^filter/"
    keeper["^zlib\\.h$"] = "^(filter/|script/abi_gzip)"
    keeper["^(argon2|crypt)\\.h$"] = "^script/abi_crypto_work"
    keeper["^nghttp2/"] = "^http/h2_"
    keeper["^ares.*\\.h$"] = "^net/dns"
    keeper["^(lua|lauxlib|lualib|luajit).*\\.h"] = "^script/"
    keeper["^maxminddb\\.h$"] = "^script/abi_"
    keeper["^stdatomic\\.h$"] = "^shm/"
}

FNR == 1 {
    files++
    path = FILENAME
    sub(/^runtime\//, "", path)
    floor = path ~ /\// ? substr(path, 1, index(path, "/") - 1) : ""
    if (floor != "" && !(floor in rank)) bad(floor " is not a floor")
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, part, "\"")
    includes++
    if (part[2] !~ /\//) {
        bad("\"" part[2] "\" must be written from runtime/, as \"floor/file.h\"")
        next
    }
    if (floor == "") next # main.c stands above all floors
    other = substr(part[2], 1, index(part[2], "/") - 1)
    if (!(other in rank)) bad("\"" part[2] "\" is on no floor")
    else if (other != floor && rank[other] > rank[floor]) bad(floor " includes upwards: " part[2])
    else if (other != floor && rank[other] == rank[floor]) bad(floor " must not know " part[2])
}

/^[ \t]*#[ \t]*include[ \t]*</ {
    split($0, part, /[<>]/)
    includes++
    for (h in keeper)
        if (part[2] ~ h && path ~ /\// && path !~ keeper[h])
            bad("<" part[2] "> is kept by " keeper[h])
}

function bad(what) {
    printf "%s:%d: %s\n", FILENAME, FNR, what
    failures++
}

END {
    printf "floors: %d includes in %d files, %d wrong\n", includes, files, failures
    exit failures > 0
}
