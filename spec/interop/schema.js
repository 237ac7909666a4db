// SPDX-License-Identifier: MIT
//
// The JSON Schemas of the plugins that come with rproxy, read by somebody else's validator: they are
// schemas of draft 2020-12, take settings that rproxy takes, and refuse what it refuses.
const { execFileSync } = require("child_process");
const Ajv = require("ajv/dist/2020").default;

const RP_BIN = process.env.RP_BIN || "build/rproxy";

const CASES = {
  "basic-auth": { good: [{ file: "users" }], bad: [{}, { file: 1 }, { file: "u", reelm: "x" }] },
  headers: { good: [{}, { request: { set: { "x-a": "b" } } }],
    bad: [{ request: { set: { "x a": "b" } } }, { request: { sett: {} } }] },
  "ip-restriction": { good: [{ allow: ["10.0.0.0/8"] }], bad: [{ allow: "10.0.0.0/8" }, { status: 200 }] },
  "ja4-deny": { good: [{ deny: ["t13d*"] }], bad: [{ action: "drop" }] },
  "jwt-auth": { good: [{ jwks: "https://id.example/keys", audience: ["api"], refresh: "5m" }],
    bad: [{ jwks: "ftp://id.example/" }, { refresh: "5 minutes" }, { algorithms: ["none"] }] },
  ratelimit: { good: [{ zone: "b", rate: 5 }, { zone: "b", rate: 5, per: "1m", on_error: "open",
    limits: { memory: "1m" }, mode: "shadow" }],
    bad: [{ zone: "b" }, { zone: "b", rate: 0 }, { zone: "b", rate: 1, name: "a b" },
      { zone: "b", rate: 1, on_error: "maybe" }] },
  "request-id": { good: [{}, { header: "x-id" }], bad: [{ header: "x id" }, { respond: "yes" }] },
};

let failed = 0;
for (const [name, { good, bad }] of Object.entries(CASES)) {
  const schema = JSON.parse(execFileSync(RP_BIN, ["schema", name], { encoding: "utf8" }));
  const check = new Ajv({ strict: true, allowUnionTypes: true, validateFormats: false }).compile(schema);
  for (const [conf, wanted] of [...good.map((c) => [c, true]), ...bad.map((c) => [c, false])]) {
    if (check(conf) === wanted) continue;
    failed++;
    console.error(`${name}: ${JSON.stringify(conf)} should be ${wanted ? "taken" : "refused"}`,
      check.errors || "");
  }
}
console.log(failed ? `schema: ${failed} failed` : "schema: ok");
process.exit(failed ? 1 : 0);
