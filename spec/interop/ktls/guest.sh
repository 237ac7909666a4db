#!/bin/busybox sh
# SPDX-License-Identifier: MIT
#
# The first and only program of the machine of run.sh: serves, fetches, compares, and turns it off.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin
export ASAN_OPTIONS=detect_leaks=0 # of a debug build
ln -s /bin/busybox /sbin/modprobe
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/fd 2>/dev/null
ifconfig lo 127.0.0.1 up

failed=0
say() { echo "ktls: $*"; }
check() { # what, is, should be
    if [ "$2" = "$3" ]; then say "ok    $1"; else say "WRONG $1: $2, not $3"; failed=1; fi
}
more() { # what, is, more than
    if [ "$2" -gt "$3" ] 2>/dev/null; then
        say "ok    $1 ($2)"
    else
        say "WRONG $1: $2, not more than $3"
        failed=1
    fi
}
stat() { sed -n "s/^$1[[:space:]]*//p" /proc/net/tls_stat; }
sum() { sha256sum "$@" | cut -d' ' -f1; }

say "kernel $(uname -r)"
modprobe tls || say "no module tls"
dd if=/dev/urandom of=/www/big bs=1M count=64 2>/dev/null
dd if=/dev/urandom of=/www/small bs=1000 count=1 2>/dev/null
big=$(sum /www/big) small=$(sum /www/small)
httpd -p 127.0.0.1:8080 -h /www
rproxy -p /etc/site.lua >/tmp/log 2>&1 &
proxy=$!
for _ in $(seq 60); do grep -q 'serving' /tmp/log && break; sleep 0.5; done
nc 127.0.0.1 8081 </dev/null >/dev/null 2>&1 || {
    say "the proxy does not start"
    sed 's/^/ktls: log: /' /tmp/log
    poweroff -f
}

# One request of HTTP/1.1 by OpenSSL's own client; the body goes to /tmp/body.
ask() { # port, path, arguments
    port=$1 path=$2; shift 2
    rm -f /tmp/answer /tmp/body
    printf 'GET %s HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n' "$path" |
        openssl s_client -connect 127.0.0.1:"$port" -servername a.test -quiet "$@" \
            >/tmp/answer 2>/tmp/client
    n=$(head -c 2000 /tmp/answer | sed '/^\r$/q' | wc -c)
    tail -c +$((n + 1)) /tmp/answer >/tmp/body
}
clean() { grep -c 'unexpected eof' /tmp/client; }
pipes() { # of all processes; those that nobody uses are closed after two seconds
    n=0
    for pid in $(pidof rproxy); do n=$((n + $(ls -l /proc/$pid/fd | grep -c 'pipe:'))); done
    echo $n
}

before=$(stat TlsTxSw)
ask 8444 /big -tls1_3
check "64 MB without the kernel" "$(sum /tmp/body)" "$big"
check "no socket was given to the kernel" "$(stat TlsTxSw)" "$before"

for version in tls1_3 tls1_2; do
    before=$(stat TlsTxSw)
    sleep 5
    quiet=$(pipes)
    ask 8443 /big -$version
    busy=$(pipes)
    check "$version: 64 MB by the kernel" "$(sum /tmp/body)" "$big"
    check "$version: it ends with close_notify" "$(clean)" 0
    more "$version: TlsTxSw" "$(stat TlsTxSw)" "$before"
    more "$version: pipes of splice" "$busy" "$quiet"
    ask 8443 /small -$version
    check "$version: 1000 bytes" "$(sum /tmp/body)" "$small"
    ask 8443 /made -$version
    check "$version: what Lua made" "$(wc -c </tmp/body)" 65536
done
for suite in TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256; do
    before=$(stat TlsTxSw)
    ask 8443 /big -tls1_3 -ciphersuites $suite
    check "$suite: 64 MB" "$(sum /tmp/body)" "$big"
    more "$suite: TlsTxSw" "$(stat TlsTxSw)" "$before"
done

# Tickets come by the kernel, too.
printf 'GET /hello HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n' >/tmp/hello
(cat /tmp/hello; sleep 2) | openssl s_client -connect 127.0.0.1:8443 -servername a.test -tls1_3 \
    -ign_eof -sess_out /tmp/session >/tmp/first 2>&1
(cat /tmp/hello; sleep 2) | openssl s_client -connect 127.0.0.1:8443 -servername a.test -tls1_3 \
    -ign_eof -sess_in /tmp/session >/tmp/second 2>&1
check "a ticket is good" "$(grep -c '^Reused' /tmp/second)" 1

# Early data is never sealed by the kernel, what follows without any is.
(cat /tmp/hello; sleep 2) | openssl s_client -connect 127.0.0.1:8445 -servername a.test -tls1_3 \
    -ign_eof -sess_out /tmp/session >/tmp/first 2>&1
before=$(stat TlsTxSw)
(sleep 2) | openssl s_client -connect 127.0.0.1:8445 -servername a.test -tls1_3 \
    -ign_eof -sess_in /tmp/session -early_data /tmp/hello >/tmp/second 2>&1
check "early data is taken" "$(grep -c 'Early data was accepted' /tmp/second)" 1
check "and answered" "$(grep -c '^hello' /tmp/second)" 1
check "without the kernel" "$(stat TlsTxSw)" "$before"

# A stream that ends TLS.
before=$(stat TlsTxSw)
ask 8446 /big -tls1_3
check "a stream: 64 MB" "$(sum /tmp/body)" "$big"
more "a stream: TlsTxSw" "$(stat TlsTxSw)" "$before"

# Our own client: kept connections, HTTP/2.
for host in one.test two.test; do
    before=$(stat TlsTxSw)
    for _ in 1 2 3 4 5; do
        rm -f /tmp/body
        wget -q -O /tmp/body --header "Host: $host" http://127.0.0.1:8081/small
        check "$host: 1000 bytes" "$(sum /tmp/body)" "$small"
    done
    rm -f /tmp/body
    wget -q -O /tmp/body --header "Host: $host" http://127.0.0.1:8081/big
    check "$host: 64 MB" "$(sum /tmp/body)" "$big"
    more "$host: TlsTxSw" "$(stat TlsTxSw)" "$before"
done

# Two at once, and a slow one.
wget -q -O /tmp/two --header "Host: two.test" http://127.0.0.1:8081/big &
other=$!
wget -q -O - --header "Host: one.test" http://127.0.0.1:8081/big |
    (dd bs=64k count=16; sleep 3; cat) >/tmp/one 2>/dev/null
check "a slow one: 64 MB" "$(sum /tmp/one)" "$big"
wait $other
check "beside another: 64 MB" "$(sum /tmp/two)" "$big"

# A client that asks for new keys must not get bytes under the old ones.
(sleep 1; echo K; sleep 2; cat /tmp/hello; sleep 2) |
    openssl s_client -connect 127.0.0.1:8443 -servername a.test -tls1_3 >/tmp/keys 2>&1
check "new keys end the connection" "$(grep -c '^hello' /tmp/keys)" 0
check "and not by bytes that cannot be read" "$(grep -ci 'bad record mac' /tmp/keys)" 0
ask 8443 /hello -tls1_3
check "the worker lives on" "$(cat /tmp/body)" hello

kill $proxy
for _ in $(seq 40); do [ "$(stat TlsCurrTxSw)" = 0 ] && break; sleep 0.5; done
check "none is left" "$(stat TlsCurrTxSw)" 0
for name in TlsCurrTxSw TlsTxSw TlsCurrRxSw TlsRxSw TlsDecryptError; do
    say "      $name $(stat $name)"
done
check "nothing failed to decrypt" "$(stat TlsDecryptError)" 0
grep -i 'assert\|fatal\|died\|alert' /tmp/log | head -5 | sed 's/^/ktls: log: /'
[ "$failed" = 0 ] && say "all good"
poweroff -f
