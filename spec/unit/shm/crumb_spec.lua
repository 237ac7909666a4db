-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local posix = require("spec.support.posix")
local support = require("spec.unit.base.support")
local C = c.load { "shm/crumb.h" }
local ffi, s = c.ffi, c.str

local zone, crumbs

local function open(worker_n, name_n)
    local out = ffi.new("struct rp_crumbs *[1]")
    local e = C.rp_crumb_new(zone[0], s "crumbs", worker_n, name_n, out)
    if e ~= 0 then return nil, c.err_name(e) end
    return out
end

before_each(function()
    zone = ffi.new("struct rp_zone *[1]")
    assert.equal(0, C.rp_zone_new(s "crumbs", 256 * 1024, zone))
    crumbs = open(2, 256)
    C.rp_crumb_start(crumbs[0], 0, 100, 1.5, 1000)
    C.rp_crumb_start(crumbs[0], 1, 101, 2.5, 2000)
end)

after_each(function()
    C.rp_crumb_free(crumbs)
    C.rp_zone_free(zone)
end)

local function intern(name, generation, worker)
    return C.rp_crumb_intern(crumbs[0], worker or 0, s(name), generation or 1)
end

local function page(worker)
    return C.rp_crumb_page(crumbs[0], worker or 0)
end

local function report(worker)
    local out = ffi.new("struct rp_crumb_report")
    ffi.fill(out, ffi.sizeof(out), 0x55)
    C.rp_crumb_report(crumbs[0], worker or 0, out)
    return out
end

local function names(worker)
    local r = report(worker)
    return { ffi.string(r.plugin), ffi.string(r.hook), ffi.string(r.route) }
end

local function enter(plugin, hook, route, worker)
    C.rp_crumb_enter(page(worker), C.rp_crumb_where(intern(plugin, 1, worker),
        intern(hook, 1, worker), intern(route, 1, worker)))
end

describe("a breadcrumb", function()
    it("names plugin, hook and route while inside, and only then", function()
        assert.is_false(report().inside)
        assert.same({ "", "", "" }, names())
        enter("jwt", "access", "GET /api/*")
        assert.is_true(report().inside)
        assert.same({ "jwt", "access", "GET /api/*" }, names())
        C.rp_crumb_leave(page())
        assert.is_false(report().inside)
        assert.same({ "", "", "" }, names())
        assert.equal(1, tonumber(report().hook_n))
    end)

    it("stays in step when entered or left twice", function()
        enter("a", "access", "r")
        enter("b", "access", "r")
        assert.same({ "b", "access", "r" }, names())
        C.rp_crumb_leave(page())
        C.rp_crumb_leave(page())
        assert.is_false(report().inside)
        enter("c", "log", "r")
        assert.same({ "c", "log", "r" }, names())
    end)

    it("carries the worker's facts", function()
        C.rp_crumb_tick(page(1), 123456789012)
        page(1).generation = 7
        local r = report(1)
        assert.equal(101, r.pid)
        assert.equal(2.5, r.started_wall)
        assert.equal(123456789012, tonumber(r.last_tick_ms))
        assert.equal(7, tonumber(r.generation))
        assert.equal(1000, tonumber(report(0).last_tick_ms))
    end)

    it("is each worker's own", function()
        enter("a", "access", "r", 0)
        enter("b", "log", "s", 1)
        assert.same({ "a", "access", "r" }, names(0))
        assert.same({ "b", "log", "s" }, names(1))
    end)

    it("tells where a child died", function()
        local how = support.in_child(function()
            C.rp_crumb_start(crumbs[0], 1, posix.C.getpid(), 3.5, 1)
            enter("waf", "rewrite", "shop", 1)
            C.rp_crumb_leave(page(1))
            enter("geo", "access", "shop", 1)
            posix.kill(posix.C.getpid(), "KILL")
            posix.sleep(5)
        end)
        assert.same({ signal = 9 }, how)
        assert.is_true(report(1).inside)
        assert.same({ "geo", "access", "shop" }, names(1))
        assert.equal(2, tonumber(report(1).hook_n))
        assert.equal(3.5, report(1).started_wall)
    end)

    it("fits in a number that Lua holds", function()
        assert.equal(0xffffffffffffULL, C.rp_crumb_where(0xffffffff, 0xffffffff, 0xffffffff))
        assert.equal(0x000100020003ULL, C.rp_crumb_where(1, 2, 3))
    end)
end)

describe("crumb names", function()
    it("have one id each", function()
        local a, b = intern("a"), intern("b")
        assert.is_true(a > 0 and b > 0 and a ~= b)
        assert.equal(a, intern("a"))
        assert.equal(a, intern("a", 5))
        local empty = intern("")
        assert.is_true(empty > 0 and empty ~= a)
    end)

    it("are cut for the report, not mixed up", function()
        local long = ("x"):rep(300)
        local a, b = intern(long .. "1"), intern(long .. "2")
        assert.is_true(a ~= b)
        C.rp_crumb_enter(page(), C.rp_crumb_where(a, a, a))
        local got = names()
        assert.same({ 63, 23, 95 }, { #got[1], #got[2], #got[3] })
        assert.equal(("x"):rep(95), got[3])
    end)

    it("run out without harm: the id 0 reports nothing", function()
        local got, missing = {}, 0
        for i = 1, 1000 do
            local id = intern("name " .. i)
            assert.is_true(id <= 256)
            if id == 0 then
                missing = missing + 1
            else
                assert.is_nil(got[id])
                got[id] = "name " .. i
            end
        end
        assert.is_true(missing >= 1000 - 256 and missing < 1000 - 200, missing)
        C.rp_crumb_enter(page(), C.rp_crumb_where(0, 0, 0))
        assert.same({ "", "", "" }, names())
        for id, name in pairs(got) do
            C.rp_crumb_enter(page(), C.rp_crumb_where(id, id, id))
            assert.equal(name, names()[1])
        end
    end)

    it("of a live generation keep their ids; those of a dead one make room", function()
        local kept = intern("kept", 1)
        for i = 1, 1000 do
            intern("old " .. i, 1)
        end
        assert.equal(0, intern("new one", 2))
        assert.equal(kept, intern("kept", 2))
        C.rp_crumb_retire(crumbs[0], 0, 1)
        assert.equal(0, intern("new one", 2))
        C.rp_crumb_retire(crumbs[0], 0, 2)
        assert.is_true(intern("new one", 2) > 0)
        for i = 1, 1000 do
            intern("newer " .. i, 2)
        end
        page().where, page().hook_seq = C.rp_crumb_where(kept, kept, kept), 1
        assert.same({ "kept", "kept", "kept" }, names())
        C.rp_crumb_retire(crumbs[0], 0, 3)
        for round = 3, 40 do -- reload after reload: the table does not fill up
            for i = 1, 100 do
                assert.is_true(intern("route " .. i .. " of " .. round, round) > 0)
            end
            C.rp_crumb_retire(crumbs[0], 0, round + 1)
        end
    end)

    it("of the worker before are forgotten", function()
        enter("old", "access", "r", 1)
        C.rp_crumb_start(crumbs[0], 1, 7, 1, 1)
        assert.is_false(report(1).inside)
        C.rp_crumb_enter(page(1), C.rp_crumb_where(1, 2, 3))
        for id = 1, 256 do
            page(1).where = C.rp_crumb_where(id, id, id)
            assert.same({ "", "", "" }, names(1))
        end
    end)
end)

describe("rp_crumb_report", function()
    it("believes nothing that it reads", function()
        math.randomseed(9)
        enter("a", "b", "c")
        local bytes = ffi.cast("uint8_t *", page())
        for i = 0, 4096 + 256 * 128 - 1 do
            bytes[i] = math.random(1, 255)
        end
        for id = 0, 70000, 7 do
            page().hook_seq = 1
            page().where = C.rp_crumb_where(id, id, id)
            local r = report()
            assert.is_true(#ffi.string(r.plugin, 64) == 64 and #ffi.string(r.plugin) < 64)
            assert.is_true(#ffi.string(r.hook) < 24)
            assert.is_true(#ffi.string(r.route) < 96)
        end
        page().where = 0xffffffffffffffffULL
        assert.same({ "", "", "" }, names())
    end)
end)

describe("rp_crumb_new", function()
    it("refuses bad numbers and sizes", function()
        for _, row in ipairs { { 0, 256 }, { 1, 0 }, { 1, 32 }, { 1, 100 }, { 1, 65536 },
            { 65536, 256 } } do
            assert.same({ nil, "INVALID" }, { open(row[1], row[2]) })
        end
        assert.same({ nil, "INVALID" }, { open(1, 256) }) -- laid out for two already
        local again = open(2, 256)
        assert.is_true(C.rp_crumb_page(again[0], 1) == page(1))
        C.rp_crumb_free(again)
        assert.is_true(support.aborts(function()
            C.rp_crumb_page(crumbs[0], 2)
        end))
    end)
end)
