-- SPDX-License-Identifier: MIT
--
-- members: sets of text that one writes and all read.

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "shm/members.h", "shm/roster.h", "shm/zone.h", "base/buf.h" }

ffi.cdef [[
int fork(void); void _exit(int); int waitpid(int, int *, int); int kill(int, int);
int usleep(unsigned);
]]

local SETS, BYTES = 16, 65536

describe("sets of members", function()
    local zone, box, roster, out

    local function open(sets_n, bytes)
        local made = ffi.new("struct rp_members *[1]")
        local e = C.rp_members_new(zone[0], c.str("members"), sets_n or SETS, bytes or BYTES,
            roster[0], made)
        return e == 0 and made or nil, c.err_name(e)
    end

    before_each(function()
        zone = ffi.new("struct rp_zone *[1]")
        assert.equal(0, C.rp_zone_new(c.str("spec"), C.rp_members_bytes(SETS, BYTES), zone))
        roster = ffi.new("struct rp_roster *[1]", C.rp_roster_own(256))
        box = assert(open())
        out = ffi.new("struct rp_buf")
        C.rp_buf_init(out, 16 * 1024 * 1024)
    end)

    after_each(function()
        C.rp_buf_fini(out)
        C.rp_members_free(box)
        C.rp_roster_free(roster)
        C.rp_zone_free(zone)
    end)

    local function put(name, text)
        local changed = ffi.new("bool[1]")
        local e = C.rp_members_put(box[0], c.str(name), c.str(text), changed)
        return c.err_name(e), changed[0]
    end

    local function get(name, from)
        local version = ffi.new("uint32_t[1]")
        C.rp_buf_clear(out)
        local e = C.rp_members_get((from or box)[0], c.str(name), out, version)
        if e ~= 0 then return nil, c.err_name(e) end
        return c.lua(C.rp_buf_str(out)) or "", version[0]
    end

    local function epoch() return tonumber(C.rp_members_epoch(box[0])) end
    local function roster_epoch() return tonumber(C.rp_roster_epoch(roster[0])) end

    it("are replaced as a whole, and tell the roster", function()
        assert.same({ "", 0 }, { get("api") })
        local before, told = epoch(), roster_epoch()
        assert.same({ "OK", true }, { put("api", "one") })
        assert.is_true(epoch() > before and roster_epoch() > told)
        local text, first = get("api")
        assert.same({ "one", first }, { text, C.rp_members_version(box[0], c.str("api")) })
        assert.same({ "OK", true }, { put("api", ("two "):rep(100)) })
        local _, second = get("api")
        assert.are_not.equal(first, second)
        assert.same({ "OK", true }, { put("api", "") })
        local _, third = get("api")
        assert.same({ "", true }, { (get("api")), third ~= second and third ~= 0 })
    end)

    it("that stay as they were are no news", function()
        put("api", "one")
        local before, told = epoch(), roster_epoch()
        assert.same({ "OK", false }, { put("api", "one") })
        assert.same({ "OK", false }, { put("none", "") })
        assert.same({ before, told }, { epoch(), roster_epoch() })
    end)

    it("are the same for another handle, and not with other numbers", function()
        put("api", "one")
        local again = assert(open())
        assert.equal("one", (get("api", again)))
        C.rp_members_free(again)
        assert.same({ nil, "INVALID" }, { open(SETS * 2) })
        assert.same({ nil, "INVALID" }, { open(SETS, BYTES * 2) })
        assert.same({ nil, "INVALID" }, { open(SETS, BYTES + 1) })
        assert.same({ nil, "INVALID" }, { open(1) })
    end)

    it("have room for so much, and what has none changes nothing", function()
        assert.same({ "TOO_BIG", false }, { put("api", ("x"):rep(C.RP_MEMBERS_SET_MOST + 1)) })
        put("api", "one")
        local before = epoch()
        assert.same({ "CAP", false }, { put("api", ("x"):rep(BYTES)) })
        assert.same({ "one", before }, { (get("api")), epoch() })
        assert.same({ "OK", true }, { put("api", ("x"):rep(BYTES - 128)) })
        assert.same({ "CAP", false }, { put("api", ("y"):rep(BYTES - 128)) }) -- both must fit
        assert.same({ "OK", true }, { put("api", "") })
        assert.same({ "OK", true }, { put("api", ("y"):rep(BYTES - 8)) })
        assert.equal(("y"):rep(BYTES - 8), (get("api")))
    end)

    it("are so many, and those that are empty make room", function()
        for i = 1, SETS do assert.same({ "OK", true }, { put("u" .. i, "t" .. i) }) end
        assert.same({ "CAP", false }, { put("one more", "x") })
        put("u7", "")
        assert.same({ "OK", true }, { put("one more", "x") })
        for i = 1, SETS do assert.equal(i == 7 and "" or "t" .. i, (get("u" .. i))) end
        assert.equal("x", (get("one more")))
    end)

    it("of names that are not kept are emptied", function()
        for i = 1, 5 do put("u" .. i, "t" .. i) end
        local kept = ffi.new("rp_str[2]", { c.str("u2"), c.str("u4") })
        assert.equal(3, C.rp_members_keep(box[0], kept, 2))
        assert.same({ "", "t2", "", "t4", "" }, { (get("u1")), (get("u2")), (get("u3")), (get("u4")),
            (get("u5")) })
        assert.equal(0, C.rp_members_keep(box[0], kept, 2))
    end)

    it("change places for ever without losing room", function()
        math.randomseed(7)
        local model = {}
        for _ = 1, 5000 do
            local name = "u" .. math.random(12)
            local text = ("abcdefgh"):rep(math.random(0, 300)) .. math.random(9)
            local e = put(name, text)
            if e == "OK" then model[name] = text else assert.equal("CAP", e) end
        end
        for name, text in pairs(model) do assert.equal(text, (get(name))) end
        for name in pairs(model) do put(name, "") end
        assert.same({ "OK", true }, { put("all", ("z"):rep(BYTES - 8)) })
    end)

    -- A process that writes sets of one letter, as fast as it can, until it is killed, or a while.
    local function writer()
        local pid = C.fork()
        if pid ~= 0 then return pid end
        local name, texts = c.str("api"), {}
        for i = 1, 26 do texts[i] = c.str(string.char(96 + i):rep(100 + i * 37)) end
        for i = 1, 2e5 do C.rp_members_put(box[0], name, texts[i % 26 + 1], nil) end
        C._exit(0)
    end

    it("are whole for readers whatever a writer does, and when it is killed", function()
        for round = 1, 40 do
            local pid, read = writer(), 0
            for _ = 1, 200 do
                local text, why = get("api")
                if text then
                    read = read + 1
                    local letter = text:sub(1, 1)
                    if letter:find("%a") then
                        assert.equal(letter:rep(100 + (letter:byte() - 96) * 37), text)
                    end
                else
                    assert.equal("BUSY", why)
                end
            end
            C.usleep(round * 53 % 700)
            C.kill(pid, 9)
            C.waitpid(pid, nil, 0)
            assert.is_true(read > 0)
            local before = epoch()
            local e, changed = put("api", tostring(round)) -- whoever died with the lock in hand
            assert.equal("OK", e)
            assert.is_true(changed and epoch() > before)
            assert.equal(tostring(round), (get("api")))
        end
    end)
end)
