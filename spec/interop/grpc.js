// SPDX-License-Identifier: MIT
//
// grpc: a server and a client of gRPC (grpc-js) with rproxy between them, HTTP/2 on both sides.
//
//   make interop            (installs with npm first; not part of `make test`)
//   RP_BIN=build/rproxy CHURN=60 node spec/interop/grpc.js
//
// Every check is a function below; the last line is "N passed, N failed". CHURN: seconds of mixed
// calls with reloads in between, whose counts on both sides must agree (10). CALLS: of the last check,
// which does what an hour of a busy service brings and looks at the memory afterwards (20000).
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { spawn } = require("node:child_process");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const { freePort, sleep, until, workersPss } = require("./common.js");

const BIN = process.env.RP_BIN || "build/rproxy";
const CHURN = Number(process.env.CHURN || 10);
const CALLS = Number(process.env.CALLS || 20000);
const LEAK_KB = 4096; // what a worker may have kept for itself after all calls: no page a call
const MB = 1024 * 1024;
const SIZES = { "grpc.max_receive_message_length": 16 * MB, "grpc.max_send_message_length": 16 * MB };

const api = grpc.loadPackageDefinition(loader.loadSync(path.join(__dirname, "grpc.proto"), { defaults: true })).interop;
// ---------------------------------------------------------------- the server

const seen = { calls: 0, cancelled: 0, peers: new Set() };

function note(call) {
    seen.calls++;
    seen.peers.add(call.getPeer());
    call.on("cancelled", () => seen.cancelled++);
}

const handlers = {
    Unary(call, done) {
        note(call);
        const back = new grpc.Metadata(), end = new grpc.Metadata();
        for (const name of ["x-text", "x-data-bin"]) {
            for (const value of call.metadata.get(name)) {
                back.add(name, value);
                end.add(name.replace("x-", "x-end-"), value);
            }
        }
        call.sendMetadata(back);
        done(null, call.request, end);
    },
    Fail(call, done) {
        note(call);
        const metadata = new grpc.Metadata();
        metadata.set("x-why", "because");
        done({ code: call.request.count, details: call.request.text, metadata });
    },
    Late(call) {
        note(call);
        call.write({ text: "first" });
        call.emit("error", { code: call.request.count, details: call.request.text });
    },
    Never: note,
    Gather(call, done) {
        note(call);
        let count = 0, text = "", bytes = 0;
        call.on("data", (p) => { count++; text += p.text; bytes += p.data.length; });
        call.on("end", () => done(null, { count, text, data: Buffer.from(String(bytes)) }));
        call.on("error", () => {});
    },
    Spread(call) {
        note(call);
        for (let i = 0; i < call.request.count; i++) {
            call.write({ count: i, data: call.request.data });
        }
        call.end();
    },
    Talk(call) {
        note(call);
        call.on("data", (p) => {
            if (p.text === "hang up") call.emit("error", { code: grpc.status.ABORTED, details: "cut" });
            else if (p.text === "end") call.end();
            else call.write(p);
        });
        call.on("end", () => call.end());
        call.on("error", () => {});
    },
};

async function serve(port) {
    const server = new grpc.Server(SIZES);
    server.addService(api.Interop.service, handlers);
    await new Promise((done, fail) => server.bindAsync(`127.0.0.1:${port}`,
        grpc.ServerCredentials.createInsecure(), (e) => (e ? fail(e) : done())));
    return server;
}

// ---------------------------------------------------------------- the proxy and the client

async function startProxy(port, upstream) {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), "rproxy-grpc-"));
    fs.chmodSync(dir, 0o755);
    const site = path.join(dir, "site.lua");
    fs.writeFileSync(site, `local rp = require("rproxy")
        return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
            limits = { body = "64m" },
            upstreams = { grpc = rp.upstream { peers = { "127.0.0.1:${upstream}" }, http = "2" } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "grpc" } } } } }`);
    const errors = fs.openSync(path.join(dir, "stderr"), "w");
    const child = spawn(BIN, ["-p", site], { stdio: ["ignore", "ignore", errors] });
    process.on("exit", () => child.kill("SIGKILL")); // whatever happens to us
    const stderr = () => fs.readFileSync(path.join(dir, "stderr"), "utf8");
    await until("rproxy listens", () => new Promise((done) => {
        const s = net.connect(port, "127.0.0.1", () => { s.destroy(); done(true); });
        s.on("error", () => done(false));
    }));
    const stop = async () => {
        const ended = new Promise((done) => child.on("exit", (code, signal) => done(signal || code)));
        child.kill("SIGTERM");
        assert.strictEqual(await ended, 0, "rproxy's end");
        assert.doesNotMatch(stderr(), /Sanitizer|runtime error|check failed/);
        fs.rmSync(dir, { recursive: true });
    };
    return { child, stderr, stop };
}

const newClient = (port, more) => new api.Interop(`127.0.0.1:${port}`,
    grpc.credentials.createInsecure(), { ...SIZES, "grpc.use_local_subchannel_pool": 1, ...more });

/* A unary or client-streaming call: { error, response, metadata, trailers }. */
function ask(client, method, request, { metadata, deadline, pieces } = {}) {
    return new Promise((done) => {
        const res = {};
        const over = (error, response) => { res.error = error; res.response = response; };
        const meta = metadata || new grpc.Metadata();
        const opt = deadline ? { deadline: Date.now() + deadline } : {};
        const call = pieces ? client[method](meta, opt, over) : client[method](request, meta, opt, over);
        call.on("metadata", (m) => (res.metadata = m));
        call.on("status", (s) => { res.trailers = s.metadata; setImmediate(done, res); });
        for (const p of pieces || []) call.write(p);
        if (pieces) call.end();
    });
}

/* Everything a server-streaming call gives: { pieces, status }. */
function gather(call) {
    return new Promise((done) => {
        const pieces = [];
        call.on("data", (p) => pieces.push(p));
        call.on("error", () => {});
        call.on("status", (status) => done({ pieces, status }));
    });
}

// ---------------------------------------------------------------- checks

const S = grpc.status;
const checks = {
    async "unary, with metadata of text and of bytes"({ client }) {
        const metadata = new grpc.Metadata();
        metadata.add("x-text", "one");
        metadata.add("x-text", "two");
        metadata.add("x-data-bin", Buffer.from([0, 1, 254, 255, 10, 13]));
        const res = await ask(client, "Unary", { text: "hello" }, { metadata });
        assert.ifError(res.error);
        assert.strictEqual(res.response.text, "hello");
        assert.strictEqual(res.metadata.get("x-text").join(", "), "one, two");
        assert.deepStrictEqual(res.metadata.get("x-data-bin")[0], Buffer.from([0, 1, 254, 255, 10, 13]));
        assert.strictEqual(res.trailers.get("x-end-text").join(", "), "one, two");
        assert.deepStrictEqual(res.trailers.get("x-end-data-bin")[0],
            Buffer.from([0, 1, 254, 255, 10, 13]));
    },
    async "messages of 4 MB, both ways"({ client }) {
        const data = Buffer.alloc(4 * MB, "x");
        const res = await ask(client, "Unary", { data });
        assert.ifError(res.error);
        assert.ok(data.equals(res.response.data));
    },
    async "empty messages"({ client }) {
        assert.ifError((await ask(client, "Unary", {})).error);
    },
    async "a status without a message (trailers only)"({ client }) {
        const res = await ask(client, "Fail", { count: S.NOT_FOUND, text: "nichts: ä % \n" });
        assert.strictEqual(res.error.code, S.NOT_FOUND);
        assert.strictEqual(res.error.details, "nichts: ä % \n");
        assert.strictEqual(res.error.metadata.get("x-why")[0], "because");
    },
    async "a status behind a message"({ client }) {
        const { pieces, status } = await gather(client.Late({ count: S.DATA_LOSS, text: "gone" }));
        assert.strictEqual(pieces.length, 1);
        assert.strictEqual(status.code, S.DATA_LOSS);
        assert.strictEqual(status.details, "gone");
    },
    async "a method that is not there"({ client }) {
        const call = (done) => client.makeUnaryRequest("/interop.Interop/Nowhere", (x) => x, (x) => x,
            Buffer.alloc(0), done);
        const error = await new Promise((done) => call(done));
        assert.strictEqual(error.code, S.UNIMPLEMENTED);
    },
    async "client streaming"({ client }) {
        const pieces = Array.from({ length: 500 }, () => ({ text: "a", data: Buffer.alloc(2000) }));
        const res = await ask(client, "Gather", null, { pieces });
        assert.ifError(res.error);
        assert.strictEqual(res.response.count, 500);
        assert.strictEqual(String(res.response.data), "1000000");
        assert.strictEqual((await ask(client, "Gather", null, { pieces: [] })).response.count, 0);
    },
    async "server streaming"({ client }) {
        const { pieces, status } = await gather(client.Spread({ count: 1000, data: Buffer.alloc(5000) }));
        assert.strictEqual(status.code, S.OK);
        assert.deepStrictEqual(pieces.map((p) => p.count), Array.from({ length: 1000 }, (_, i) => i));
    },
    async "both ways at once, in turns"({ client }) {
        const call = client.Talk();
        const next = () => new Promise((done) => call.once("data", done));
        for (let i = 0; i < 50; i++) {
            const answer = next();
            call.write({ text: `turn ${i}` });
            assert.strictEqual((await answer).text, `turn ${i}`);
        }
        const over = gather(call);
        call.write({ text: "end" }); // the server ends first
        assert.strictEqual((await over).status.code, S.OK);
    },
    async "the server cuts a call of both ways"({ client }) {
        const call = client.Talk(), over = gather(call);
        call.write({ text: "one" });
        call.write({ text: "hang up" });
        const { pieces, status } = await over;
        assert.strictEqual(pieces.length, 1);
        assert.strictEqual(status.code, S.ABORTED);
    },
    async "the client cancels, and the server hears of it"({ client }) {
        const before = seen.cancelled, calls = seen.calls;
        const call = client.Never({}, () => {});
        call.on("error", () => {});
        await until("the call arrives", () => seen.calls > calls);
        call.cancel();
        await until("the server is told", () => seen.cancelled > before);
        const talk = client.Talk();
        talk.on("error", () => {});
        talk.write({ text: "x" });
        await new Promise((done) => talk.once("data", done));
        talk.cancel();
        await until("the server is told of that, too", () => seen.cancelled > before + 1);
    },
    async "deadlines"({ client }) {
        const before = seen.cancelled;
        const res = await ask(client, "Never", {}, { deadline: 300 });
        assert.strictEqual(res.error.code, S.DEADLINE_EXCEEDED);
        await until("the server is told", () => seen.cancelled > before);
    },
    async "100 calls at once, on few connections"({ client }) {
        seen.peers.clear();
        const all = await Promise.all(Array.from({ length: 100 },
            (_, i) => ask(client, "Unary", { count: i, data: Buffer.alloc(20000, i) })));
        all.forEach((res, i) => {
            assert.ifError(res.error);
            assert.strictEqual(res.response.count, i);
            assert.ok(res.response.data.every((b) => b === i));
        });
        assert.ok(seen.peers.size <= 3, `${seen.peers.size} connections`);
    },
    async "100 conversations at once"({ client }) {
        const calls = Array.from({ length: 100 }, () => client.Talk());
        await Promise.all(calls.map(async (call, i) => {
            const over = gather(call);
            for (let n = 0; n < 20; n++) call.write({ text: `${i}.${n}` });
            call.end();
            const { pieces, status } = await over;
            assert.strictEqual(status.code, S.OK);
            assert.deepStrictEqual(pieces.map((p) => p.text),
                Array.from({ length: 20 }, (_, n) => `${i}.${n}`));
        }));
    },
    async "keepalive pings of the client"({ port }) {
        const client = newClient(port, { "grpc.keepalive_time_ms": 100,
            "grpc.keepalive_timeout_ms": 5000, "grpc.keepalive_permit_without_calls": 1 });
        const call = client.Talk();
        const next = () => new Promise((done) => call.once("data", done));
        call.write({ text: "a" });
        await next();
        await sleep(1500);
        const answer = next();
        call.write({ text: "b" });
        assert.strictEqual((await answer).text, "b");
        call.end();
        assert.strictEqual((await gather(call)).status.code, S.OK);
        client.close();
    },
    async "a call goes on over a reload of rproxy"({ client, proxy }) {
        const call = client.Talk();
        const next = () => new Promise((done) => call.once("data", done));
        let answer = next();
        call.write({ text: "before" });
        await answer;
        const mark = proxy.stderr().length;
        proxy.child.kill("SIGHUP");
        await until("the reload", () => /reload/.test(proxy.stderr().slice(mark)));
        const res = await ask(client, "Unary", { text: "new" });
        assert.ifError(res.error);
        answer = next();
        call.write({ text: "after" });
        assert.strictEqual((await answer).text, "after");
        call.end();
        assert.strictEqual((await gather(call)).status.code, S.OK);
    },
    async "a restart of the server: polite, then not"({ client, state }) {
        await new Promise((done) => state.server.tryShutdown(done));
        let res = await ask(client, "Unary", {});
        assert.strictEqual(res.error.code, S.UNAVAILABLE);
        state.server = await serve(state.upstream);
        res = await ask(client, "Unary", { text: "again" });
        assert.ifError(res.error);
        const calls = seen.calls;
        const cut = ask(client, "Never", {});
        await until("the call arrives", () => seen.calls > calls);
        state.server.forceShutdown();
        assert.ok([S.UNAVAILABLE, S.CANCELLED].includes((await cut).error.code));
        state.server = await serve(state.upstream);
        assert.ifError((await ask(client, "Unary", { text: "again" })).error);
    },
    async "churn"({ client, proxy }) {
        const end = Date.now() + CHURN * 1000, before = seen.calls;
        const ok = {}, bad = [];
        let asked = 0;
        const one = {
            async Unary(i) { return (await ask(client, "Unary", { count: i })).error; },
            async Fail(i) {
                const { error } = await ask(client, "Fail", { count: S.NOT_FOUND, text: `${i}` });
                return error && error.code === S.NOT_FOUND ? null : error || new Error("no error");
            },
            async Gather() {
                const pieces = [{ text: "a" }, { text: "b", data: Buffer.alloc(30000) }];
                const res = await ask(client, "Gather", null, { pieces });
                return res.error || (res.response.text === "ab" ? null : new Error("other text"));
            },
            async Spread() {
                const { pieces, status } = await gather(client.Spread({ count: 20 }));
                return status.code === S.OK && pieces.length === 20 ? null : new Error(status.details);
            },
            async Talk(i) {
                const call = client.Talk(), over = gather(call);
                call.write({ count: i });
                call.end();
                const { pieces, status } = await over;
                return status.code === S.OK && pieces[0].count === i ? null : new Error(status.details);
            },
        };
        const names = Object.keys(one);
        const worker = async (w) => {
            for (let i = w; Date.now() < end; i++) {
                const name = names[i % names.length];
                asked++;
                const error = await one[name](i);
                if (error) bad.push(`${name}: ${error.message}`);
                else ok[name] = (ok[name] || 0) + 1;
            }
        };
        const reloads = setInterval(() => proxy.child.kill("SIGHUP"), 3000);
        await Promise.all(Array.from({ length: 20 }, (_, w) => worker(w)));
        clearInterval(reloads);
        console.log(`    ${asked} calls, the server had ${seen.calls - before}`, ok);
        assert.deepStrictEqual(bad.slice(0, 5), []);
        assert.strictEqual(seen.calls - before, asked);
    },
    async "an hour's churn: calls, cancels, deadlines, restarts, reloads, and no memory kept"({ client, port, proxy, state }) {
        const expected = new Set([S.UNAVAILABLE, S.CANCELLED, S.DEADLINE_EXCEEDED, S.NOT_FOUND, S.INTERNAL, S.ABORTED]);
        const ended = {}, strange = [];
        let left = 0;
        const note_end = (code, details) => {
            ended[code] = (ended[code] || 0) + 1;
            if (code !== S.OK && !expected.has(code)) strange.push(`${code} ${details}`);
        };
        const end_of = (res) => note_end(res.error ? res.error.code : S.OK, res.error && res.error.details);
        const began = Date.now();
        let resets = 0; // below what rproxy takes for a flood: 50 a second (docs/guide/http2.md)
        const rarely = (kind) => async (c, i) => {
            if (resets > (Date.now() - began) / 1000 * 35) return kinds[0](c, i);
            resets++;
            return kind(c, i);
        };
        const kinds = [
            async (c, i) => end_of(await ask(c, "Unary", { count: i, data: Buffer.alloc(i % 3000) })),
            async (c, i) => end_of(await ask(c, "Fail", { count: S.NOT_FOUND, text: `${i}` })),
            rarely(async (c) => end_of(await ask(c, "Never", {}, { deadline: 5 }))),
            rarely(async (c) => { // cancelled in the middle
                const call = c.Spread({ count: 200, data: Buffer.alloc(5000) }), over = gather(call);
                call.once("data", () => call.cancel());
                const { status } = await over;
                note_end(status.code, status.details);
            }),
            async (c) => {
                const call = c.Talk(), over = gather(call);
                for (let n = 0; n < 5; n++) call.write({ text: `${n}` });
                call.end();
                const { status } = await over;
                note_end(status.code, status.details);
            },
            rarely(async (c) => { // begun and left alone
                const call = c.Talk(), over = gather(call);
                call.write({ text: "x" });
                setImmediate(() => call.cancel());
                const { status } = await over;
                note_end(status.code, status.details);
            }),
            async (_, i) => { // a connection of its own, now and then
                if (i % 50) return note_end(S.OK);
                const c = newClient(port);
                end_of(await ask(c, "Unary", { count: i }));
                return c.close();
            },
        ];
        const round = async (n) => {
            left = n;
            await Promise.all(Array.from({ length: 50 }, async () => {
                while (left > 0) {
                    const i = left--;
                    await kinds[i % kinds.length](client, i);
                }
            }));
        };
        const well = () => until("calls succeed again", async () => !(await ask(client, "Unary", {})).error);
        const disturb = async () => { // one reload and one restart of the server, the next one rude
            proxy.child.kill("SIGHUP");
            await sleep(300);
            const old = state.server;
            if (!disturb.rude) await Promise.race([new Promise((done) => old.tryShutdown(done)), sleep(300)]);
            old.forceShutdown();
            disturb.rude = !disturb.rude;
            state.server = await serve(state.upstream);
            await sleep(300);
        };
        /* n calls in all weathers, some more in none; then what the worker costs. */
        const hour = async (n) => {
            let on = true;
            const beside = (async () => { while (on) await disturb(); })();
            await round(n);
            on = false;
            await beside;
            await well();
            await round(CALLS / 20);
            await well();
            await sleep(1500);
            return workersPss(proxy.child.pid);
        };
        const before = await hour(CALLS); // its most at once is known by then
        const after = await hour(CALLS);
        console.log(`    ${CALLS} calls ended by`, ended, `worker ${before} KB before, ${after} KB after`);
        assert.deepStrictEqual(strange.slice(0, 5), []);
        assert.ok(ended[S.OK] > CALLS / 4 && ended[S.CANCELLED] > CALLS / 1000);
        assert.ok(after - before < LEAK_KB, `${after - before} KB more`);
    },
};

async function main() {
    const port = await freePort(), upstream = await freePort();
    const state = { upstream, server: await serve(upstream) };
    const proxy = await startProxy(port, upstream);
    const client = newClient(port);
    let passed = 0, failed = 0;
    for (const [name, check] of Object.entries(checks)) {
        if (process.argv[2] && !name.includes(process.argv[2])) continue;
        const late = new Promise((_, fail) => setTimeout(fail, (CHURN + 30 + CALLS / 50) * 1000,
            new Error("not done in time")).unref());
        try {
            await Promise.race([check({ client, port, proxy, state }), late]);
            passed++;
            console.log(`ok   ${name}`);
        } catch (e) {
            failed++;
            console.log(`FAIL ${name}\n${e.stack}`);
        }
    }
    client.close();
    if (failed) console.log(proxy.stderr().slice(-4000));
    try {
        await proxy.stop();
    } catch (e) {
        failed++;
        console.log(`FAIL the end\n${e.stack}`);
    }
    state.server.forceShutdown();
    console.log(`${passed} passed, ${failed} failed`);
    process.exit(failed || !passed ? 1 : 0);
}

main();
