// SPDX-License-Identifier: MIT
//
// h2tools: h2load, nghttp and curl against rproxy, over TLS and without it, and with HTTP/2 on both
// sides: what they report is what must have happened.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { certificate, checkAll, freePort, rproxy, run, tempDir } = require("./common.js");

const MB = 1024 * 1024;
const big = Buffer.alloc(8 * MB, "0123456789abcdef");

/* An origin of HTTP/1.1. */
function serve(port) {
    return http.createServer((req, res) => {
        let n = 0;
        req.on("data", (d) => { n += d.length; });
        req.on("end", () => {
            if (req.url.startsWith("/big")) {
                res.setHeader("content-length", big.length); // in answers to HEAD, too
                res.end(big);
            }
            else if (req.url.startsWith("/missing")) { res.statusCode = 404; res.end("no"); }
            else if (req.url.startsWith("/echo")) res.end(String(n));
            else if (req.url.startsWith("/trailers")) {
                res.writeHead(200, { Trailer: "x-sum" });
                res.write("part");
                res.addTrailers({ "x-sum": "4" });
                res.end();
            } else res.end("hello");
        });
    }).listen(port, "127.0.0.1");
}

/* h2load's own counts: { total, succeeded, failed, errored, timeout, c2xx, c4xx, c5xx }. */
function counts(out) {
    const all = {};
    const requests = /^requests: (.*)$/m.exec(out), codes = /^status codes: (.*)$/m.exec(out);
    assert.ok(requests && codes, out);
    for (const part of requests[1].split(", ")) {
        const [n, name] = part.split(" ");
        all[name] = Number(n);
    }
    for (const part of codes[1].split(", ")) {
        const [n, name] = part.split(" ");
        all[`c${name}`] = Number(n);
    }
    return all;
}

async function load(url, args, n) {
    const { out } = await run("h2load", ["-n", String(n), ...args, url], { seconds: 120 });
    const c = counts(out);
    assert.deepStrictEqual([c.total, c.succeeded, c.failed, c.errored, c.timeout], [n, n, 0, 0, 0], out);
    return { c, out };
}

const urls = ({ ports }, path) => [`http://127.0.0.1:${ports.plain}${path}`,
    `https://127.0.0.1:${ports.tls}${path}`, `https://127.0.0.1:${ports.twice}${path}`];

const checks = {
    async "h2load: many small requests, many at once"(it) {
        for (const url of urls(it, "/small")) {
            const { c, out } = await load(url, ["-c", "20", "-m", "32"], 20000);
            assert.strictEqual(c.c2xx, 20000);
            if (url.startsWith("https")) assert.match(out, /Application protocol: h2/);
        }
    },
    async "h2load: narrow windows and large answers"(it) {
        for (const url of urls(it, "/big")) {
            const { c, out } = await load(url, ["-c", "4", "-m", "4", "-w", "14", "-W", "15"], 32);
            assert.strictEqual(c.c2xx, 32);
            const bytes = Number(/^traffic: .*\((\d+)\) data$/m.exec(out)[1]);
            assert.strictEqual(bytes, 32 * big.length);
        }
    },
    async "h2load: uploads"(it) {
        const file = path.join(it.dir, "upload");
        fs.writeFileSync(file, Buffer.alloc(300000, "u"));
        for (const url of urls(it, "/echo")) {
            const { c } = await load(url, ["-c", "4", "-m", "8", "-d", file], 200);
            assert.strictEqual(c.c2xx, 200);
        }
    },
    async "h2load: errors of the origin are counted as such"(it) {
        const { out } = await run("h2load", ["-n", "500", "-c", "5", "-m", "10", urls(it, "/missing")[1]]);
        const c = counts(out);
        assert.deepStrictEqual([c.total, c.done, c.errored, c.timeout, c.c4xx], [500, 500, 0, 0, 500]);
    },
    async "h2load: HTTP/1.1 over TLS by ALPN"(it) {
        const { c, out } = await load(urls(it, "/small")[1], ["--h1", "-c", "10"], 2000);
        assert.strictEqual(c.c2xx, 2000);
        assert.match(out, /Application protocol: http\/1.1/);
    },
    async "h2load: requests go on over reloads"(it) {
        let on = true;
        const reloads = (async () => { while (on) await it.proxies[0].reload(); })();
        const { c } = await load(urls(it, "/small")[1], ["-c", "10", "-m", "10"], 20000);
        on = false;
        await reloads;
        assert.strictEqual(c.c2xx, 20000);
    },
    async "nghttp: frames of a whole exchange"(it) {
        const { code, out } = await run("nghttp", ["-nv", "--no-verify-peer", urls(it, "/small")[1]]);
        assert.strictEqual(code, 0, out);
        assert.match(out, /:status: 200/);
        assert.match(out, /SETTINGS_ENABLE_CONNECT_PROTOCOL\(0x08\):1/);
        assert.match(out, /recv DATA frame .*\n\s+; END_STREAM/);
        assert.doesNotMatch(out, /RST_STREAM|error_code=(?!NO_ERROR)/);
    },
    async "nghttp: trailers, both ways"(it) {
        for (const url of urls(it, "/trailers")) {
            const { code, out } = await run("nghttp", ["-nv", "--no-verify-peer", "-H", "te: trailers", url]);
            assert.strictEqual(code, 0, out);
            assert.match(out, /x-sum: 4/);
        }
    },
    async "nghttp: 100 requests on one connection, with priorities, a padded upload"(it) {
        const url = urls(it, "/small")[1];
        const { code, out } = await run("nghttp", ["-ns", "--no-verify-peer", "-m", "100", url]);
        assert.strictEqual(code, 0, out);
        assert.strictEqual(out.match(/ 200 +\d+ \/small/g).length, 100, out);
        const file = path.join(it.dir, "upload");
        fs.writeFileSync(file, Buffer.alloc(300000, "u"));
        const up = await run("nghttp", ["--no-verify-peer", "-b", "100", "-d", file, urls(it, "/echo")[1]]);
        assert.strictEqual(up.out.trim(), "300000");
    },
    async "curl: --http2, --http2-prior-knowledge, --http1.1"(it) {
        const [plain, tls, twice] = urls(it, "/small");
        const ask = async (...args) => (await run("curl", ["-sk", "-w", " %{http_code} %{http_version}", ...args])).out;
        assert.strictEqual(await ask("--http2", tls), "hello 200 2");
        assert.strictEqual(await ask("--http2", twice), "hello 200 2");
        assert.strictEqual(await ask("--http2-prior-knowledge", plain), "hello 200 2");
        assert.strictEqual(await ask("--http1.1", tls), "hello 200 1.1");
        assert.strictEqual(await ask("--http2", plain), "hello 200 1.1"); // h2c by Upgrade is not taken
    },
    async "curl: 8 MB down, 8 MB up, unknown length, HEAD, many at once"(it) {
        const file = path.join(it.dir, "big");
        fs.writeFileSync(file, big);
        for (const base of urls(it, "")) {
            const two = base.startsWith("https") ? "--http2" : "--http2-prior-knowledge";
            const out = path.join(it.dir, "out");
            assert.strictEqual((await run("curl", ["-sk", two, "-o", out, `${base}/big`])).code, 0);
            assert.ok(fs.readFileSync(out).equals(big));
            assert.strictEqual((await run("curl", ["-sk", two, "-T", file, `${base}/echo`])).out, String(big.length));
            const piped = await run("sh", ["-c", `cat "${file}" | curl -sk ${two} -T - "${base}/echo"`]);
            assert.strictEqual(piped.out, String(big.length));
            const head = await run("curl", ["-skI", two, `${base}/big`]);
            assert.match(head.out, /content-length: 8388608/i);
            // curl 7.88 cannot share a connection that it began by prior knowledge.
            const many = two === "--http2" && await run("curl", ["-skZ", two, "--parallel-max", "50", "-o", `${it.dir}/many_#1`, "-w",
                "%{http_code}\n", `${base}/small?[1-200]`]);
            if (many) assert.strictEqual((many.out.match(/^200$/gm) || []).length, 200, many.out.slice(0, 2000));
        }
    },
};

async function main() {
    const dir = tempDir(), ports = {};
    for (const name of ["origin", "plain", "tls", "twice", "other"]) ports[name] = await freePort();
    certificate(dir, "a", "a.test");
    const origin = serve(ports.origin);
    const hosts = 'hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o" } } } }';
    const tls = `tls = { certs = { "${dir}/a.pem" } }`;
    const proxies = [
        await rproxy(ports.tls, `listeners = { rp.listen { "127.0.0.1:${ports.tls}", ${tls} },
            rp.listen { "127.0.0.1:${ports.plain}" } }, limits = { body = "64m" },
            http2 = { window = "128k" }, upstreams = { o = rp.upstream {
                peers = { "127.0.0.1:${ports.origin}" } } }, ${hosts}`, dir),
        await rproxy(ports.twice, `listeners = { rp.listen { "127.0.0.1:${ports.twice}", ${tls} } },
            limits = { body = "64m" }, upstreams = { o = rp.upstream {
                peers = { "127.0.0.1:${ports.tls}" }, http = "2", tls = { verify = false } } }, ${hosts}`, dir),
    ];
    await checkAll(checks, { dir, ports, proxies }, { end: async () => {
        for (const p of proxies.reverse()) await p.stop();
        origin.close();
    } });
}

main();
