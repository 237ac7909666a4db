-- SPDX-License-Identifier: MIT
--
-- FFI is fast only when it is compiled: what hot hooks do must not abort a trace.

local ffi = require("ffi")
local library = ffi.load(os.getenv("RP_TEST_LIB") or "build/librproxy_test.so", true)
local c = require("spec.support.c")

local C = c.load { "script/abi.h", "shm/zone.h" }

-- A host that is only as much as these calls touch.
local host_bytes = ffi.new("char[65536]")
local aligned = ffi.cast("char *", host_bytes) + (64 - ffi.cast("uintptr_t", host_bytes) % 64) % 64
package.loaded["rproxy.host"] = { face = ffi.cast("void *", aligned), spawn = print,
    park = print, null = false }

local header = require("rproxy.header")
local request = require("rproxy.request")

local function fake_request()
    local r, fields = ffi.new("struct rp_req"), ffi.new("struct rp_field[8]")
    C.rp_msg_init(r.x.head, fields, 8, 8)
    C.rp_arena_init(r.x.arena, r.x.arena_first, 2048, 16 * 1024 * 1024)
    local path = "/some/path"
    r.x.head.uri.path.ptr, r.x.head.uri.path.len = path, #path
    r.x.head.method, r.phase, r.x.head.version = 1, 1, 11
    local name, value = "x-api-key", "0123456789"
    assert(C.rp_msg_add(r.x.head, r.x.arena, 0, c.str(name), c.str(value)) == 0)
    r.up_head = r.x.head
    local conf = ffi.new("struct rp_conf")
    conf.script, r.conf = ffi.cast("void *", aligned), conf
    return r, { fields, path, name, value, conf }
end

local r, anchors = fake_request()
local dirty = ffi.new("uint8_t[1]")

local ROUNDS = 4000

-- Instructions that the interpreter runs per call once the loop is warm: a count hook sees those
-- and none of compiled code.
local function interpreted(fn, req)
    local loop = assert(loadstring("local fn, req, n = ... for _ = 1, n do fn(req) end"))
    local count = 0
    jit.flush()
    for _ = 1, 5 do loop(fn, req, 1000) end
    debug.sethook(function() count = count + 1 end, "", 1)
    loop(fn, req, ROUNDS)
    debug.sethook()
    return count / ROUNDS
end

describe("a hook that", function()
    local KEY = header.handle("x-api-key")
    local req
    before_each(function()
        req = request.wrap(ffi.cast("void *", r), ffi.cast("void *", dirty), 0, 1)
        assert.is_not_nil(anchors)
        assert.is_not_nil(library)
        assert.is_not_nil(host_bytes) -- an upvalue: C writes there as long as hooks run
    end)

    local HOT = {
        ["reads a header by handle"] = function(q) return q:get(KEY) end,
        ["reads a header by name"] = function(q) return q:get("x-api-key") end,
        ["reads an absent header"] = function(q) return q:get("x-none") end,
        ["compares a header"] = function(q) return q:is(KEY, "nope") end,
        ["reads the path"] = function(q) return q.path == "/x" end,
        ["reads method and version"] = function(q) return q.method == q.version end,
        ["keeps something in ctx"] = function(q) q.ctx.n = (q.ctx.n or 0) + 1 end,
        ["looks at the route"] = function(q) return q.route end,
        ["reads what goes upstream"] = function(q) return q.up:get(KEY) end,
        ["sets what goes upstream by handle"] = function(q) q.up:set(KEY, "v") end,
        ["sets what goes upstream by name"] = function(q) q.up:set("X-Name", "v") end,
    }
    for what, fn in pairs(HOT) do
        it(what .. " runs as machine code", function()
            local n = interpreted(fn, req)
            assert.is_true(n < 1, n)
        end)
    end

    describe("asks a shared zone", function()
        local shared, zones = require("rproxy.shared"), {}

        -- As the sink and the host do: declared, and a handle for each.
        setup(function()
            for kind, number in pairs { store = 1, cache = 2, buckets = 3 } do
                local zone = ffi.new("struct rp_zone *[1]")
                local dict = ffi.new("struct rp_dict *[1]")
                assert.equal(0, C.rp_zone_new(c.str(kind), 65536, zone))
                assert.equal(0, C.rp_dict_new(zone[0], number, dict))
                shared.declare(kind, kind)
                rawset(shared.zones[kind], 1, dict[0])
                zones[kind] = shared.zones[kind]
            end
        end)

        local CALLS = {
            ["and takes a token"] = function() return zones.buckets:take("k", 1e6, 100) end,
            ["and counts in a window"] = function() return zones.buckets:window("k", 1, 9, 1) end,
            ["and counts"] = function() return zones.store:incr("n", 1, 0) end,
            ["and reads"] = function() return zones.store:get("n") end,
            ["and finds nothing"] = function() return zones.cache:get("none") end,
            ["and writes"] = function() return zones.cache:set("k", "value", 60) end,
        }
        for what, fn in pairs(CALLS) do
            it(what .. " as machine code", function()
                local n = interpreted(fn, req)
                assert.is_true(n < 1, n)
            end)
        end
    end)

    it("makes a closure does not, which this spec would see", function()
        assert.is_true(interpreted(function(q) return (function() return q end)() end, req) > 1)
    end)
end)
