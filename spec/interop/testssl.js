// SPDX-License-Identifier: MIT
//
// testssl: what testssl.sh finds at a listener with TLS options of default, and with `hsts`, and the
// grade that SSL Labs gives for such findings (SSL Server Rating Guide, 2009q): A by default, A+ with
// HSTS. A certificate signed by itself is all that a run here can have, so findings about who is to be
// trusted are left out, as the guide does ("grade if trust issues are ignored"). The lines that were
// judged go to OUT (build/interop/testssl.txt).
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const { certificate, checkAll, freePort, rproxy, run, tempDir } = require("./common.js");

const OUT = process.env.OUT || "build/interop/testssl.txt";
const HALF_YEAR = 15552000; // seconds of HSTS that A+ takes
const GOOD = ["OK", "INFO"];

/* Of trust, of names in the DNS, and of what a page says of itself; and whether sessions are resumed,
 * which testssl.sh asks of an openssl that may end before it was given a ticket. */
const NOT_OURS = ["cert_chain_of_trust", "cert_revocation", "DNS_CAArecord", "security_headers",
    "HSTS", "sessionresumption_ticket", "sessionresumption_ID"];

const PROTOCOLS = { SSLv2: 0, SSLv3: 80, TLS1: 90, TLS1_1: 95, TLS1_2: 100, TLS1_3: 100 };

/* Points for the strength of the weakest and the strongest cipher, halved. */
const points = (bits) => (bits >= 256 ? 100 : bits >= 128 ? 80 : bits > 0 ? 20 : 0);

const bitsOf = (cipher) => {
    if (/NULL/.test(cipher)) return 0;
    if (/CHACHA20|AES_?256/.test(cipher)) return 256;
    return /AES_?128|CAMELLIA128/.test(cipher) ? 128 : 112;
};

/* The strength of a key as the guide compares it with RSA. */
function keyPoints(finding) {
    const [, kind, bits] = /(RSA|EC|DSA)\D*(\d+)/.exec(finding);
    const rsa = kind === "EC" ? (bits >= 384 ? 7680 : bits >= 256 ? 3072 : 1024) : Number(bits);
    return rsa >= 4096 ? 100 : rsa >= 2048 ? 90 : rsa >= 1024 ? 80 : 20;
}

/* { grade, why, score } of testssl's findings by id. */
function rate(by) {
    const on = Object.keys(PROTOCOLS).filter((p) => /^(offered|supported)/.test(by[p].finding));
    const ciphers = [by.cipherorder_TLSv1_2, by.cipherorder_TLSv1_3].filter(Boolean)
        .flatMap((f) => f.finding.trim().split(/\s+/));
    const protocol = on.map((p) => PROTOCOLS[p]), strength = ciphers.map((c) => points(bitsOf(c)));
    const mean = (list) => (Math.min(...list) + Math.max(...list)) / 2;
    const score = 0.3 * mean(protocol) + 0.3 * keyPoints(by.cert_keySize.finding) + 0.4 * mean(strength);
    const why = [];
    if (!on.includes("TLS1_2") && !on.includes("TLS1_3")) why.push("neither TLS 1.2 nor 1.3");
    for (const old of ["SSLv2", "SSLv3", "TLS1", "TLS1_1"]) if (on.includes(old)) why.push(`${old} is offered`);
    if (!on.includes("TLS1_3")) why.push("no TLS 1.3");
    for (const c of ciphers) if (!/^(TLS_|(ECDHE|DHE)-)/.test(c)) why.push(`no forward secrecy: ${c}`);
    for (const c of ciphers) if (!/GCM|CHACHA20|CCM/.test(c)) why.push(`no AEAD: ${c}`);
    if (score < 80) why.push(`score ${score}`);
    if (why.length) return { grade: score >= 65 ? "B or less" : "C or less", why, score };
    const age = /\(?=?(\d+) seconds/.exec((by.HSTS_time || { finding: "" }).finding);
    const plus = age && Number(age[1]) >= HALF_YEAR && by.fallback_SCSV.severity === "OK";
    return { grade: plus ? "A+" : "A", why, score };
}

async function scan(port, dir, name) {
    const file = path.join(dir, `${name}.json`);
    const { out } = await run("testssl", ["--quiet", "--color", "0", "--warnings", "batch", "--jsonfile",
        file, "--openssl", "/usr/bin/openssl", "-p", "-s", "-f", "-P", "-S", "-h", "-U", "--ip", "one",
        `127.0.0.1:${port}`], { seconds: 300 });
    assert.ok(fs.existsSync(file), out);
    const all = JSON.parse(fs.readFileSync(file, "utf8"));
    const judged = all.filter((f) => f.id !== "cert" && !f.id.startsWith("cert_finger"));
    fs.mkdirSync(path.dirname(OUT), { recursive: true });
    fs.appendFileSync(OUT, `-- ${name}\n` + judged.map((f) => `${f.severity.padEnd(8)} ${f.id}: ${f.finding}\n`).join(""));
    return { by: Object.fromEntries(all.map((f) => [f.id, f])), judged };
}

async function graded(it, name, more, least) {
    const port = await freePort();
    const proxy = await rproxy(port, `listeners = { rp.listen { "127.0.0.1:${port}",
            tls = { certs = { "${it.dir}/${it.cert}.pem" } } } }, ${more}
        hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 200, "hi" } } } } }`);
    const { by, judged } = await scan(port, it.dir, name);
    const bad = judged.filter((f) => !GOOD.includes(f.severity) && !NOT_OURS.includes(f.id));
    assert.deepStrictEqual(bad.map((f) => `${f.severity} ${f.id}: ${f.finding}`), []);
    for (const id of ["heartbleed", "CCS", "ticketbleed", "ROBOT", "secure_renego", "secure_client_renego",
        "CRIME_TLS", "POODLE_SSL", "SWEET32", "FREAK", "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4",
        "cipherlist_NULL", "cipherlist_aNULL", "cipherlist_EXPORT", "cipherlist_LOW"]) {
        assert.strictEqual(by[id] && by[id].severity, "OK", id); // it was looked at
    }
    const { grade, why, score } = rate(by);
    fs.appendFileSync(OUT, `grade ${grade} (score ${score}) ${why.join("; ")}\n`);
    console.log(`    ${name}: ${grade}, score ${score}`);
    assert.strictEqual(grade, least, why.join("; "));
    await proxy.stop();
}

const checks = {
    "options of default: A": (it) => graded({ ...it, cert: "ec" }, "default", "", "A"),
    "with hsts: A+": (it) => graded({ ...it, cert: "ec" }, "hsts", 'hsts = "365d",', "A+"),
    "an RSA key: A+": (it) => graded({ ...it, cert: "rsa" }, "rsa", 'hsts = "365d",', "A+"),
    async "the grade falls with what is weak"() {
        const good = { finding: "offered" }, not = { finding: "not offered" };
        const by = { SSLv2: not, SSLv3: not, TLS1: not, TLS1_1: not, TLS1_2: good, TLS1_3: good,
            cert_keySize: { finding: "RSA 2048 bits" }, fallback_SCSV: { severity: "OK" },
            cipherorder_TLSv1_2: { finding: "ECDHE-RSA-AES128-GCM-SHA256" } };
        assert.strictEqual(rate(by).grade, "A");
        assert.strictEqual(rate({ ...by, HSTS_time: { finding: "365 days (=31536000 seconds) > 1" } }).grade, "A+");
        assert.notStrictEqual(rate({ ...by, TLS1: good }).grade, "A");
        assert.notStrictEqual(rate({ ...by, cipherorder_TLSv1_2: { finding: "AES128-SHA" } }).grade, "A");
        assert.notStrictEqual(rate({ ...by, cert_keySize: { finding: "RSA 512 bits" },
            cipherorder_TLSv1_2: { finding: "ECDHE-RSA-DES-CBC3-SHA" } }).grade, "A");
    },
};

async function main() {
    const dir = tempDir();
    certificate(dir, "ec", "a.test");
    certificate(dir, "rsa", "a.test", ["rsa:2048"]);
    fs.rmSync(OUT, { force: true });
    await checkAll(checks, { dir }, { seconds: 400 });
}

main();
