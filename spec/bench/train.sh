#!/bin/bash
# SPDX-License-Identifier: MIT
#
# train: what a build of `make pgo` is trained with: a fixed number of requests of each kind through
# the program itself, over loopback: HTTP/1.1 and HTTP/2, with TLS and without, new connections and kept
# ones, small and large bodies both ways, hooks, logs, and what goes wrong.
#
#   spec/bench/train.sh PROGRAM
#
# Takes some ten seconds. Every kind must be answered as expected: what is not served is not trained.
set -eu

program=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
origin_port=21180 plain=http://127.0.0.1:21184 tls=https://127.0.0.1:21194
folder=$(mktemp -d)
pids=()

cleanup() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" || true; done
    rm -rf "$folder"
}
trap cleanup EXIT

die() {
    echo "train.sh: $*" >&2
    tail -n 5 "$folder"/*.log >&2 2>/dev/null || true
    exit 1
}

for tool in nginx h2load curl openssl; do
    PATH=$PATH:/usr/sbin command -v $tool >"$folder/found" || die "$tool is missing (make deps)"
done

wait_for() { # port
    local i
    for i in $(seq 100); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        sleep 0.1
    done
    die "nobody listens on port $1"
}

is_free() { # port
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null || die "port $1 is in use"
}

# ---------------------------------------------------------------- origin and proxy

start_origin() {
    head -c 1024 /dev/zero | tr '\0' x >"$folder/1k"
    head -c 2048 /dev/zero | tr '\0' x >"$folder/2k"
    head -c 102400 /dev/zero | tr '\0' x >"$folder/100k"
    cat >"$folder/nginx.conf" <<END
daemon off; worker_processes 1; pid $folder/nginx.pid; error_log $folder/nginx.log;
$([ "$(id -u)" != 0 ] || echo 'user root;')
events { worker_connections 1024; }
http {
    access_log off; keepalive_requests 1000000; sendfile on; client_max_body_size 10m;
    client_body_temp_path $folder/body; proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fcgi; uwsgi_temp_path $folder/uwsgi; scgi_temp_path $folder/scgi;
    server {
        listen 127.0.0.1:$origin_port; root $folder;
        rewrite ^/(?:o|lua|noop|edit|filter|logged)(/.*)\$ \$1 break;
        location = /plain { default_type text/plain;
            return 200 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"; }
        location = /gone { return 404; }
        location = /moved { return 302 /plain; }
        location = /2k { gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any; }
        location = /up { client_body_buffer_size 1m; proxy_pass http://127.0.0.1:$origin_port/plain; }
    }
}
END
    PATH=$PATH:/usr/sbin nginx -p "$folder" -e "$folder/nginx.log" -c "$folder/nginx.conf" &
    pids+=($!)
    wait_for $origin_port
}

start_proxy() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=train \
        -keyout "$folder/key" -out "$folder/crt" 2>"$folder/openssl.log" || die "no certificate"
    cat "$folder/crt" "$folder/key" >"$folder/train.pem"
    sed "s|FOLDER|$folder|" "$here/sites/train.lua" >"$folder/site.lua"
    "$program" -p "$folder/site.lua" >"$folder/rproxy.log" 2>&1 &
    pids+=($!)
    wait_for 21184
}

# ---------------------------------------------------------------- requests

many() { # requests, arguments of h2load
    local n=$1
    shift
    timeout 120 h2load -n "$n" "$@" >"$folder/h2load.log" 2>&1 || die "h2load $*"
    grep -q " $n succeeded, 0 failed" "$folder/h2load.log" || die "h2load $*: not all are answered"
}

some() { # status, arguments of curl: every request must bring it
    local status=$1 got
    shift
    got=$(curl -ks --max-time 30 -o /dev/null -w '%{http_code}\n' "$@" | sort -u) || true
    [ "$got" = "$status" ] || die "curl $*: ${got:-nothing}, not $status"
}

ask_kept() {
    many 20000 --h1 -c 32 $plain/o/plain
    many 6000 --h1 -c 32 -H 'user-agent: train/1.0 (x; y)' -H 'accept: text/html,*/*;q=0.8' \
        -H 'accept-encoding: gzip' -H 'cookie: a=1; b=2' $plain/logged/1k
    many 10000 --h1 -c 32 $plain/noop/plain
    many 10000 --h1 -c 32 $plain/lua/plain
    many 3000 --h1 -c 16 $plain/edit/plain
    many 2000 --h1 -c 16 $plain/content
    many 1000 --h1 -c 16 $plain/o/100k
    many 500 --h1 -c 16 $plain/filter/100k
    many 8000 --h1 -c 32 $tls/o/plain
    many 500 --h1 -c 8 $tls/o/100k
    many 10000 -c 8 -m 16 $tls/o/plain
    many 3000 -c 8 -m 16 $tls/lua/1k
    many 500 -c 4 -m 8 $tls/o/100k
    many 3000 -c 8 -m 16 -p h2c $plain/o/plain
}

ask_new() {
    some 200 -H 'connection: close' "$plain/o/plain?[1-1500]"
    some 200 -H 'connection: close' "$tls/o/plain?[1-150]"
}

ask_bodies() {
    some 200 --data-binary "@$folder/1k" "$plain/o/up?[1-300]"
    some 200 --data-binary "@$folder/100k" -H expect: "$plain/o/up?[1-100]"
    some 200 --data-binary "@$folder/100k" "$tls/o/up?[1-50]"
    some 200 -H 'transfer-encoding: chunked' --data-binary "@$folder/1k" "$plain/o/up?[1-100]"
    some 200 --compressed "$plain/o/2k?[1-300]"
    some 200 -I "$plain/o/1k?[1-50]"
    some 206 -r 0-99 "$plain/o/1k?[1-50]"
}

ask_wrong() {
    some 404 "$plain/nothing?[1-100]"
    some 404 "$plain/o/gone?[1-100]"
    some 302 "$plain/o/moved?[1-100]"
    some 403 -H 'x-api-key: wrong' "$plain/lua/plain?[1-100]"
    some 502 "$plain/down?[1-30]"
    some 400 -H 'host:' "$plain/o/plain?[1-30]"
}

for port in $origin_port 21184 21194; do is_free $port; done
start_origin
start_proxy
ask_kept
ask_new
ask_bodies
ask_wrong
kill -QUIT "${pids[1]}"
wait "${pids[1]}" || die "the proxy did not end well"
unset 'pids[1]'
