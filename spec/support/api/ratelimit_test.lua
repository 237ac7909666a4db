-- SPDX-License-Identifier: MIT
local t = require "rproxy.test" -- boots the real C core in-process, sockets replaced by pipes
describe("ratelimit", function()
  it("answers 429 with Retry-After when the bucket is empty", function()
    local site = t.site { shared = { b = t.shm.buckets() },
      use = { require "plugins.ratelimit" { dict = "b", rate = 1, burst = 2 } } }
    site:get("/") site:get("/")
    local res = site:get("/")
    assert.equal(429, res.status)
    assert.equal("1", res.headers["retry-after"])
    t.clock:advance(1)                           -- virtual time: timers, TTLs, refill all follow it
    assert.equal(200, site:get("/").status)
    assert.no_aborts(site)                       -- every hook of this test compiled (jit trace check)
  end)
end)
