// SPDX-License-Identifier: MIT
//
// common: what the programs of this folder share: rproxy with a site, other programs, checks.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { execFile, execFileSync, spawn } = require("node:child_process");

const BIN = path.resolve(process.env.RP_BIN || "build/rproxy");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function until(what, check) {
    for (let i = 0; i < 600; i++) {
        if (await check()) return;
        await sleep(25);
    }
    throw new Error(`waited in vain: ${what}`);
}

function freePort() {
    return new Promise((done) => {
        const s = net.createServer().listen(0, "127.0.0.1", () => {
            const { port } = s.address();
            s.close(() => done(port));
        });
    });
}

const listens = (port) => new Promise((done) => {
    const s = net.connect(port, "127.0.0.1", () => { s.destroy(); done(true); });
    s.on("error", () => done(false));
});

const children = new Set();
process.on("exit", () => children.forEach((c) => c.kill("SIGKILL"))); // whatever happens to us

/* A program in the background that ends with us. */
function start(file, args, opt) {
    const child = spawn(file, args, { stdio: "ignore", ...opt });
    children.add(child);
    child.on("exit", () => children.delete(child));
    child.on("error", (e) => { console.log(`${file}: ${e.message}`); });
    return child;
}

/* A program to its end: { code, out }; out holds both streams. */
function run(file, args, { seconds = 120, ...opt } = {}) {
    return new Promise((done) => {
        execFile(file, args, { timeout: seconds * 1000, maxBuffer: 64 * 1024 * 1024, ...opt },
            (error, out, err) => done({ code: error ? error.code || error.signal || 1 : 0, out: out + err }));
    });
}

/* A folder that is gone when we are. */
function tempDir() {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), "rproxy-interop-"));
    fs.chmodSync(dir, 0o755);
    process.on("exit", () => fs.rmSync(dir, { recursive: true, force: true }));
    return dir;
}

/* dir/name.pem and dir/name.key, signed by itself. */
function certificate(dir, name, host, kind = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]) {
    execFileSync("openssl", ["req", "-x509", "-newkey", ...kind, "-nodes", "-days", "90", "-keyout",
        path.join(dir, `${name}.key`), "-out", path.join(dir, `${name}.pem`), "-subj", `/CN=${host}`,
        "-addext", `subjectAltName=DNS:${host},IP:127.0.0.1`], { stdio: "ignore" });
    for (const end of ["key", "pem"]) fs.chmodSync(path.join(dir, `${name}.${end}`), 0o644);
}

/* rproxy with `return rp.site { BODY }`, listening on `port`. */
async function rproxy(port, body, dir = tempDir()) {
    const site = path.join(dir, `site-${port}.lua`);
    const log = path.join(dir, `stderr-${port}`);
    fs.writeFileSync(site, `local rp = require("rproxy")\nreturn rp.site { workers = 1, ${body} }\n`);
    const child = start(BIN, ["-p", site], { stdio: ["ignore", "ignore", fs.openSync(log, "w")] });
    const stderr = () => fs.readFileSync(log, "utf8");
    await until("rproxy listens", async () => {
        if (child.exitCode !== null) throw new Error(`rproxy ended:\n${stderr()}`);
        return listens(port);
    });
    const stop = async () => {
        const ended = new Promise((done) => child.on("exit", (code, signal) => done(signal || code)));
        child.kill("SIGTERM");
        assert.strictEqual(await ended, 0, "rproxy's end");
        assert.doesNotMatch(stderr(), /Sanitizer|runtime error|check failed/);
    };
    const reload = async () => {
        const mark = stderr().length;
        child.kill("SIGHUP");
        await until("the reload", () => /reload/.test(stderr().slice(mark)));
    };
    return { child, stderr, stop, reload, site };
}

/* The proportional set size of a process' children, KB: what rproxy's workers cost. */
function workersPss(pid) {
    const kids = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    return kids.filter(Boolean).reduce((sum, kid) => {
        const text = fs.readFileSync(`/proc/${kid}/smaps_rollup`, "utf8");
        return sum + Number(/^Pss:\s+(\d+)/m.exec(text)[1]);
    }, 0);
}

/* Run checks in order, print a line for each, end the process. seconds: for each. */
async function checkAll(checks, context, { seconds = 120, end } = {}) {
    let passed = 0, failed = 0;
    for (const [name, check] of Object.entries(checks)) {
        if (process.argv[2] && !name.includes(process.argv[2])) continue;
        const late = new Promise((_, fail) => setTimeout(fail, seconds * 1000,
            new Error("not done in time")).unref());
        try {
            await Promise.race([check(context), late]);
            passed++;
            console.log(`ok   ${name}`);
        } catch (e) {
            failed++;
            console.log(`FAIL ${name}\n${e.stack}`);
        }
    }
    try {
        if (end) await end();
    } catch (e) {
        failed++;
        console.log(`FAIL the end\n${e.stack}`);
    }
    console.log(`${passed} passed, ${failed} failed`);
    process.exit(failed || !passed ? 1 : 0);
}

module.exports = { BIN, certificate, checkAll, freePort, listens, rproxy, run, sleep, start, tempDir,
    until, workersPss };
