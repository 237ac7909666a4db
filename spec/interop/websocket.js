// SPDX-License-Identifier: MIT
//
// websocket: an echo server and clients of WebSocket (ws) with rproxy and nghttpx between them, each
// of which carries them over HTTP/2 (RFC 8441) to the other.
//
//   client -> rproxy -> nghttpx -> echo         rproxy is the client in HTTP/2
//   client -> nghttpx -> rproxy -> echo         rproxy is the server in HTTP/2
//   client -> nghttpx -> rproxy -> nghttpx -> echo
"use strict";

const assert = require("node:assert");
const { WebSocket, WebSocketServer } = require("ws");
const { checkAll, freePort, listens, rproxy, start, until } = require("./common.js");

/* Everything that a client of a WebSocket may do, on ws://127.0.0.1:PORT/PATH. */
async function exercise(port, path) {
    const ws = new WebSocket(`ws://127.0.0.1:${port}${path}`, ["chat"]);
    const got = [], closed = new Promise((done) => ws.on("close", (code, why) => done([code, String(why)])));
    let wake = () => {};
    ws.on("message", (data, binary) => { got.push([binary, data]); wake(); });
    await new Promise((done, fail) => { ws.on("open", done); ws.on("error", fail); });
    assert.strictEqual(ws.protocol, "chat");
    const next = async () => {
        if (got.length === 0) await new Promise((done) => { wake = done; });
        return got.shift();
    };
    ws.send("hello");
    assert.strictEqual(String((await next())[1]), "hello");
    const bytes = Buffer.alloc(3 * 1024 * 1024, "0123456789");
    ws.send(bytes);
    assert.ok(bytes.equals((await next())[1]));
    for (let i = 0; i < 200; i++) ws.send(`${i}`);
    for (let i = 0; i < 200; i++) assert.strictEqual(String((await next())[1]), `${i}`);
    const pong = new Promise((done) => ws.on("pong", done));
    ws.ping("x");
    assert.strictEqual(String(await pong), "x");
    ws.close(1000, "bye");
    assert.deepStrictEqual(await closed, [1000, "bye"]);
}

function refused(port, path) {
    return new Promise((done) => {
        const ws = new WebSocket(`ws://127.0.0.1:${port}${path}`);
        ws.on("unexpected-response", (_, res) => { done(res.statusCode); ws.terminate(); });
        ws.on("error", () => {});
        ws.on("open", () => done("open"));
    });
}

const checks = {
    async "rproxy to nghttpx"({ ports }) {
        await exercise(ports.rproxy, "/far");
    },
    async "rproxy to nghttpx, frames looked at"({ ports }) {
        await exercise(ports.rproxy, "/checked");
    },
    async "nghttpx to rproxy"({ ports }) {
        await exercise(ports.front, "/near");
    },
    async "nghttpx to rproxy to nghttpx"({ ports }) {
        await exercise(ports.front, "/far");
    },
    async "50 at once on few connections"({ ports }) {
        await Promise.all(Array.from({ length: 50 }, () => exercise(ports.front, "/far")));
    },
    async "a server that refuses, a server that hangs up"({ ports }) {
        assert.strictEqual(await refused(ports.rproxy, "/refuse"), 403);
        const ws = new WebSocket(`ws://127.0.0.1:${ports.rproxy}/far`, ["chat"]);
        const closed = new Promise((done) => ws.on("close", done));
        ws.on("open", () => ws.send("terminate"));
        assert.strictEqual(await closed, 1006); // no Close frame came
    },
    async "a limit of frames is told both ends"({ ports, seen }) {
        const ws = new WebSocket(`ws://127.0.0.1:${ports.rproxy}/limits`, ["chat"]);
        const closed = new Promise((done) => ws.on("close", done));
        ws.on("open", () => ws.send(Buffer.alloc(2000)));
        assert.strictEqual(await closed, 1009);
        await until("the server is told", () => seen.codes.includes(1009));
    },
};

async function main() {
    const seen = { codes: [] };
    const ports = {};
    for (const name of ["echo", "rproxy", "front", "far"]) ports[name] = await freePort();
    const server = new WebSocketServer({ port: ports.echo, host: "127.0.0.1", maxPayload: 2 ** 26,
        verifyClient: (info, done) => done(!info.req.url.startsWith("/refuse"), 403) });
    server.on("connection", (ws) => {
        ws.on("message", (data, binary) => {
            if (String(data.subarray(0, 9)) === "terminate") ws.terminate();
            else ws.send(data, { binary });
        });
        ws.on("close", (code) => seen.codes.push(code));
        ws.on("error", () => {});
    });
    const nghttpx = (front, back) => start("nghttpx", ["--conf=/dev/null", "--workers=1",
        "--frontend", `127.0.0.1,${front};no-tls`, "--backend", `127.0.0.1,${back}`,
        "--accesslog-file=/dev/null", "--errorlog-file=/dev/null"]);
    nghttpx(ports.far, `${ports.echo};;proto=http/1.1`);
    nghttpx(ports.front, `${ports.rproxy};;proto=h2`);
    const proxy = await rproxy(ports.rproxy, `listeners = { rp.listen { "127.0.0.1:${ports.rproxy}" } },
        upstreams = { far = rp.upstream { peers = { "127.0.0.1:${ports.far}" }, http = "2" },
            near = rp.upstream { peers = { "127.0.0.1:${ports.echo}" } } },
        hosts = { rp.host { default = true, routes = {
            rp.route { "/near", upstream = "near" },
            rp.route { "/checked", upstream = "far", websocket = { check = true } },
            rp.route { "/limits", upstream = "far", websocket = { max_frame = 1000 } },
            rp.route { "/*", upstream = "far" } } } }`);
    await until("nghttpx listens", async () => await listens(ports.far) && await listens(ports.front));
    await checkAll(checks, { ports, seen }, { end: proxy.stop });
}

main();
