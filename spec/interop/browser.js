// SPDX-License-Identifier: MIT
//
// browser: Chromium loads pages through rproxy, and says itself which protocol each resource came by
// (nextHopProtocol of its performance entries); WebSockets over HTTP/2 (RFC 8441) and over HTTP/1.1;
// server-sent events and early hints that hooks make.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const puppeteer = require("puppeteer-core");
const { WebSocketServer } = require("ws");
const { certificate, checkAll, freePort, rproxy, tempDir } = require("./common.js");

const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium";
const N = 100;

const page = `<!doctype html><title>page</title><body>
${Array.from({ length: N }, (_, i) => `<img src="/r/${i}.svg" width=8 height=8>`).join("\n")}
<script>
window.result = new Promise((done) => addEventListener("load", () => {
    const all = performance.getEntriesByType("resource").filter((e) => e.name.includes("/r/"));
    const seen = {};
    for (const e of all) seen[e.nextHopProtocol] = (seen[e.nextHopProtocol] || 0) + 1;
    const broken = [...document.images].filter((i) => !i.naturalWidth).length;
    done({ seen, broken, page: performance.getEntriesByType("navigation")[0].nextHopProtocol });
}));
window.echo = (n) => new Promise((done) => {
    const ws = new WebSocket("wss://" + location.host + "/ws"), got = [];
    ws.binaryType = "arraybuffer";
    ws.onopen = () => { for (let i = 0; i < n; i++) ws.send("text " + i); ws.send(new ArrayBuffer(1e6)); };
    ws.onmessage = (e) => {
        got.push(e.data);
        if (got.length === n + 1) ws.close(1000, "done");
    };
    ws.onclose = (e) => done({ code: e.code, clean: e.wasClean, n: got.length,
        texts: got.slice(0, n).every((t, i) => t === "text " + i), bytes: got[n] && got[n].byteLength });
});
window.listen = () => new Promise((done, fail) => {
    const es = new EventSource("/events"), got = [];
    let opened = 0;
    es.onopen = () => opened++;
    es.onmessage = (e) => got.push([e.lastEventId, e.data]);
    es.addEventListener("end", (e) => {
        es.close();
        done({ opened, got, end: e.data });
    });
});
window.upload = async (n) => {
    const res = await fetch("/upload", { method: "POST", body: new Uint8Array(n) });
    return { status: res.status, text: await res.text() };
};
</script></body>`;

/* Three events a connection, then the browser has to come back; the tenth ends it. */
const ROUTES = `
    rp.route { "/events", content = function(req)
        local es = req:events { retry = 0.02, keepalive = 0.01 }
        local from = tonumber(es.last_event_id) or 0
        if from >= 9 then return es:send { event = "end", data = { from = from } } end
        for id = from + 1, from + 3 do
            rp.sleep(0.03)
            es:send { id = id, data = "event\\n" .. id }
        end
        return es:close()
    end },
    rp.route { "/hint.svg", content = function(req)
        return req:exit(200, '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"></svg>',
            { ["content-type"] = "image/svg+xml", ["cache-control"] = "max-age=600" })
    end },
    rp.route { "/hinted", content = function(req)
        req:early_hints { link = "</hint.svg>; rel=preload; as=image" }
        rp.sleep(0.2)
        return req:exit(200, "<!doctype html><title>hinted</title><img src=/hint.svg>",
            { ["content-type"] = "text/html" })
    end },`;

/* An origin of HTTP/1.1 that answers all this, and WebSockets; asked: what for. */
function serve(port) {
    const upgrades = [];
    const server = http.createServer((req, res) => {
        if (req.url === "/upload") {
            let n = 0;
            req.on("data", (d) => { n += d.length; });
            req.on("end", () => res.end(String(n)));
        } else if (req.url.startsWith("/r/")) {
            res.setHeader("content-type", "image/svg+xml");
            res.setHeader("cache-control", "no-store");
            res.end(`<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><!-- ${"x".repeat(3000)} --></svg>`);
        } else {
            res.setHeader("content-type", "text/html");
            res.end(page);
        }
    }).listen(port, "127.0.0.1");
    new WebSocketServer({ server, path: "/ws", maxPayload: 2 ** 26 }).on("connection", (ws, req) => {
        upgrades.push(req.headers);
        ws.on("message", (data, binary) => ws.send(data, { binary }));
    });
    return { server, upgrades };
}

/* The page on a port, in a browser of its own. */
async function visit({ browser }, port, more) {
    const tab = await browser.newPage();
    const failed = [];
    tab.on("requestfailed", (r) => failed.push(`${r.url()} ${r.failure().errorText}`));
    await tab.goto(`https://127.0.0.1:${port}/`, { waitUntil: "load", timeout: 60000 });
    const out = await tab.evaluate("window.result");
    const rest = more ? await more(tab) : null;
    await tab.close();
    assert.deepStrictEqual(failed, []);
    assert.strictEqual(out.broken, 0);
    return { ...out, rest };
}

const logged = (dir, port) => {
    const file = path.join(dir, `access-${port}.log`);
    const text = fs.existsSync(file) ? fs.readFileSync(file, "utf8").trim() : "";
    return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
};

const checks = {
    async "100 resources over HTTP/2"(it) {
        const { seen, page: protocol } = await visit(it, it.ports.h2);
        assert.deepStrictEqual(seen, { h2: N });
        assert.strictEqual(protocol, "h2");
    },
    async "100 resources over HTTP/1.1"(it) {
        const { seen } = await visit(it, it.ports.h1);
        assert.deepStrictEqual(seen, { "http/1.1": N });
    },
    async "a WebSocket over HTTP/2 (RFC 8441)"(it) {
        const mark = logged(it.dir, it.ports.h2).length;
        const { rest } = await visit(it, it.ports.h2, (tab) => tab.evaluate("window.echo(100)"));
        assert.deepStrictEqual(rest, { code: 1000, clean: true, n: 101, texts: true, bytes: 1e6 });
        const lines = logged(it.dir, it.ports.h2).slice(mark).filter((l) => l.path === "/ws");
        assert.deepStrictEqual(lines.map((l) => l.protocol), ["HTTP/2.0"]);
    },
    async "a WebSocket over HTTP/1.1 and TLS"(it) {
        const { rest } = await visit(it, it.ports.h1, (tab) => tab.evaluate("window.echo(100)"));
        assert.deepStrictEqual(rest, { code: 1000, clean: true, n: 101, texts: true, bytes: 1e6 });
        const lines = logged(it.dir, it.ports.h1).filter((l) => l.path === "/ws");
        assert.deepStrictEqual(lines.map((l) => l.protocol), ["HTTP/1.1"]);
    },
    async "a WebSocket over HTTP/2 on both sides of a second rproxy"(it) {
        const { rest } = await visit(it, it.ports.twice, (tab) => tab.evaluate("window.echo(100)"));
        assert.deepStrictEqual(rest, { code: 1000, clean: true, n: 101, texts: true, bytes: 1e6 });
    },
    async "server-sent events, and where it was when it comes back"(it) {
        for (const port of [it.ports.h2, it.ports.h1]) {
            const { rest } = await visit(it, port, (tab) => tab.evaluate("window.listen()"));
            const wanted = Array.from({ length: 9 }, (_, i) => [String(i + 1), `event\n${i + 1}`]);
            assert.deepStrictEqual(rest, { opened: 4, got: wanted, end: '{"from":9}' });
        }
    },
    async "early hints, which it follows"(it) {
        const tab = await it.browser.newPage();
        await tab.goto(`https://127.0.0.1:${it.ports.h2}/hinted`, { waitUntil: "load", timeout: 60000 });
        await tab.close();
        const paths = logged(it.dir, it.ports.h2).map((l) => l.path).filter((p) => p.startsWith("/hint"));
        assert.deepStrictEqual(paths.slice(0, 2), ["/hint.svg", "/hinted"]); // before the page was there
    },
    async "an upload of 20 MB"(it) {
        const { rest } = await visit(it, it.ports.h2, (tab) => tab.evaluate("window.upload(2e7)"));
        assert.deepStrictEqual(rest, { status: 200, text: "20000000" });
    },
    async "a page that goes on over a reload"(it) {
        const { rest } = await visit(it, it.ports.h2, async (tab) => {
            const echo = tab.evaluate("window.echo(2000)");
            await it.proxies[0].reload();
            return [await echo, await tab.evaluate("window.upload(1000)")];
        });
        assert.strictEqual(rest[0].n, 2001);
        assert.strictEqual(rest[1].status, 200);
    },
};

async function main() {
    const dir = tempDir(), ports = {};
    for (const name of ["origin", "h2", "h1", "twice"]) ports[name] = await freePort();
    certificate(dir, "a", "page.test");
    const origin = serve(ports.origin);
    const site = (port, alpn, upstream) => `
        log = { access = { to = "${dir}/access-${port}.log", format = "json", buffer = 0,
            fields = { "path", "status", "protocol" } } },
        listeners = { rp.listen { "127.0.0.1:${port}", tls = { certs = { "${dir}/a.pem" }, ${alpn} } } },
        limits = { body = "64m" },
        upstreams = { o = rp.upstream { ${upstream} } },
        hosts = { rp.host { default = true, routes = { ${ROUTES} rp.route { "/*", upstream = "o" } } } }`;
    const plain = `peers = { "127.0.0.1:${ports.origin}" }`;
    const proxies = [
        await rproxy(ports.h2, site(ports.h2, "", plain), dir),
        await rproxy(ports.h1, site(ports.h1, 'alpn = { "http/1.1" }', plain), dir),
        await rproxy(ports.twice, site(ports.twice, "", `peers = { "127.0.0.1:${ports.h2}" },
            http = "auto", tls = { verify = false }`), dir),
    ];
    const browser = await puppeteer.launch({ executablePath: CHROMIUM, userDataDir: `${dir}/profile`,
        acceptInsecureCerts: true, args: ["--no-sandbox", "--headless", "--disable-gpu",
            "--ignore-certificate-errors", "--disable-dev-shm-usage", "--no-proxy-server"] });
    const end = async () => {
        await browser.close();
        for (const p of proxies) await p.stop();
        origin.server.close();
    };
    await checkAll(checks, { browser, dir, ports, proxies }, { end });
}

main();
