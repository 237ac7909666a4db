// SPDX-License-Identifier: MIT
//
// certs: a listener with 2,000 certificates: how long rproxy takes to start and to reload with them
// (under 2 s each), what a worker costs, and whether every name gets its own.
"use strict";

const assert = require("node:assert");
const crypto = require("node:crypto");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const tls = require("node:tls");
const { certificate, checkAll, freePort, rproxy, tempDir, until, workersPss } = require("./common.js");

const N = Number(process.env.CERTS || 2000);
const MOST_MS = 2000;
const hostOf = (i) => `h${String(i).padStart(6, "0")}.certs.test`;

const length = (n) => (n < 128 ? Buffer.from([n]) : n < 256 ? Buffer.from([0x81, n])
    : Buffer.from([0x82, n >> 8, n & 255]));
const der = (tag, ...parts) => {
    const body = Buffer.concat(parts);
    return Buffer.concat([Buffer.from([tag]), length(body.length), body]);
};

/* The bytes of the element at `at`, its head included. */
function element(bytes, at) {
    let n = bytes[at + 1], head = 2;
    if (n & 128) {
        head += n & 127;
        n = bytes.readUIntBE(at + 2, n & 127);
    }
    return bytes.subarray(at, at + head + n);
}

/* N certificates of other names, of other numbers, of one key: openssl would take minutes for them. */
function forge(dir, to) {
    certificate(dir, "model", hostOf(0));
    const key = fs.readFileSync(path.join(dir, "model.key"));
    const whole = new crypto.X509Certificate(fs.readFileSync(path.join(dir, "model.pem"))).raw;
    const tbs = element(whole, whole.length - element(whole, 0).length + (whole[1] & 128 ? 2 + (whole[1] & 127) : 2));
    const serial = element(tbs, tbs.indexOf(Buffer.from([0xa0, 3, 2, 1, 2])) + 5); // behind the version
    const algorithm = element(whole, tbs.byteOffset - whole.byteOffset + tbs.length);
    fs.mkdirSync(to);
    for (let i = 0; i < N; i++) {
        const own = Buffer.from(tbs);
        own.writeUInt32BE(i + 1, serial.byteOffset - tbs.byteOffset + serial.length - 4);
        for (let at = own.indexOf(hostOf(0)); at >= 0; at = own.indexOf(hostOf(0), at)) own.write(hostOf(i), at++);
        const sign = crypto.sign("sha256", own, key);
        const text = der(0x30, own, algorithm, der(0x03, Buffer.from([0]), sign)).toString("base64");
        fs.writeFileSync(path.join(to, `${hostOf(i)}.pem`), `-----BEGIN CERTIFICATE-----\n${
            text.match(/.{1,64}/g).join("\n")}\n-----END CERTIFICATE-----\n${key}`);
    }
    fs.chmodSync(to, 0o755);
}

function nameOf(port, servername) {
    return new Promise((done, fail) => {
        const s = tls.connect({ port, host: "127.0.0.1", servername, rejectUnauthorized: false }, () => {
            const { subject, subjectaltname } = s.getPeerCertificate();
            s.destroy();
            done(`${subject.CN} ${subjectaltname}`);
        });
        s.on("error", fail);
    });
}

/* CPU time of a process with its children, those that ended included, ms. */
function cpuMs(pid) {
    const one = (p, dead) => {
        const f = fs.readFileSync(`/proc/${p}/stat`, "utf8").replace(/^.*\) /, "").split(" ").map(Number);
        return (f[11] + f[12] + (dead ? f[13] + f[14] : 0)) * 10; // ticks of 1/100 s
    };
    const kids = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    return kids.filter(Boolean).reduce((sum, kid) => sum + one(kid, false), one(pid, true));
}

/* The time on the clock is printed, and judged where nobody else was busy; CPU time always is. */
async function reloads({ proxy }, meanwhile) {
    const all = [], began = cpuMs(proxy.child.pid);
    for (let round = 0; round < 4; round++) {
        const mark = proxy.stderr().length;
        proxy.child.kill("SIGHUP");
        let ms;
        await until("the reload", async () => {
            await meanwhile();
            ms = /reloaded .*ms=(\d+)/.exec(proxy.stderr().slice(mark))?.[1];
            return ms;
        });
        all.push(Number(ms));
    }
    const cpu = (cpuMs(proxy.child.pid) - began) / all.length;
    console.log(`    reloads: ${all.join(", ")} ms; CPU time of each: ${cpu} ms`);
    assert.ok(cpu < MOST_MS, `${cpu} ms of CPU time`);
    if (os.loadavg()[0] < os.cpus().length) assert.ok(Math.min(...all) < MOST_MS);
}

const checks = {
    async "start, in time"(it) {
        const began = Date.now();
        it.proxy = await rproxy(it.port, it.site, it.dir);
        const ms = Date.now() - began;
        console.log(`    ${N} certificates: serving after ${ms} ms, worker ${workersPss(it.proxy.child.pid)} KB`);
        assert.ok(ms < MOST_MS || os.loadavg()[0] > os.cpus().length, `${ms} ms`);
    },
    async "every name gets its own certificate"({ port }) {
        for (let i = 0; i < N; i += 20) {
            const names = Array.from({ length: Math.min(20, N - i) }, (_, k) => hostOf(i + k));
            const got = await Promise.all(names.map((name) => nameOf(port, name)));
            got.forEach((text, k) => assert.ok(text.startsWith(`${names[k]} DNS:${names[k]},`), text));
        }
    },
    async "an unknown name gets the first"({ port }) {
        assert.ok((await nameOf(port, "nobody.test")).startsWith(hostOf(0)));
    },
    async "reloads, in time"(it) {
        await reloads(it, async () => {});
    },
    async "reloads, in time, while clients connect"(it) {
        await reloads(it, () => nameOf(it.port, hostOf(1)));
    },
};

async function main() {
    const dir = tempDir(), port = await freePort();
    forge(dir, path.join(dir, "certs"));
    const site = `listeners = { rp.listen { "127.0.0.1:${port}", tls = { certs = { "${dir}/certs/*.pem" } } } },
        hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 200, "hi" } } } } }`;
    const it = { dir, port, site };
    await checkAll(checks, it, { end: () => it.proxy.stop() });
}

main();
