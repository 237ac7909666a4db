-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local ffi = c.ffi

local C = c.load { "process/handover.h" }

local function write(indexed, fn)
    local o = ffi.new("struct rp_handover_out")
    C.rp_handover_begin(o, indexed)
    fn(o)
    local text, fds = c.lua(C.rp_buf_str(o.text)), {}
    for i = 0, o.fds_n - 1 do fds[#fds + 1] = o.fds[i] end
    C.rp_handover_end(o)
    return text, fds
end

local function put(o, key, numbers, text)
    local n = ffi.new("uint64_t[12]", numbers)
    C.rp_handover_put(o, key, n, #numbers, c.str(text or ""))
end

-- All records as { key, text, n = { .. } }; and whether a line was malformed.
local function read(text, fds)
    local input, r = ffi.new("struct rp_handover_in"), ffi.new("struct rp_handover_record")
    local given = fds and ffi.new("int[?]", #fds, fds)
    local keep, all = c.str(text), {}
    C.rp_handover_open(input, keep, given, fds and #fds or 0)
    while C.rp_handover_next(input, r) do
        local one = { key = c.lua(r.key), text = c.lua(r.text), n = {}, fd = {} }
        for i = 0, 11 do
            one.n[i + 1] = tonumber(r.n[i])
            one.fd[i + 1] = C.rp_handover_fd_of(input, r.n[i])
        end
        all[#all + 1] = one
    end
    local bad = input.bad
    C.rp_handover_close(input)
    return all, bad
end

describe("rp_handover", function()
    it("gives back what was put", function()
        local text = write(false, function(o)
            put(o, "listener", { 1, 2 ^ 40 }, "127.0.0.1:80")
            put(o, "odd", { 0 }, "line\nline =\0\255")
            put(o, "none", {})
        end)
        local all, bad = read(text)
        assert.is_false(bad)
        assert.equal(3, #all)
        assert.same({ "listener", "127.0.0.1:80" }, { all[1].key, all[1].text })
        assert.same({ 1, 2 ^ 40, 0 }, { all[1].n[1], all[1].n[2], all[1].n[3] })
        assert.equal("line\nline =\0\255", all[2].text)
        assert.same({ "none", "" }, { all[3].key, all[3].text })
    end)

    it("names descriptors by number, or by their place among those that come beside it", function()
        local function two(o)
            put(o, "a", { C.rp_handover_fd(o, 7), C.rp_handover_fd(o, -1) })
            put(o, "b", { C.rp_handover_fd(o, 9) })
        end
        local text, fds = write(false, two)
        assert.same({ 7, 9 }, fds)
        local all = read(text)
        assert.same({ 7, -1, 9 }, { all[1].fd[1], all[1].fd[2], all[2].fd[1] })
        text, fds = write(true, two)
        assert.same({ 7, 9 }, fds)
        all = read(text, { 20, 21 })
        assert.same({ 20, -1, 21 }, { all[1].fd[1], all[1].fd[2], all[2].fd[1] })
        all = read(text, { 20 }) -- one did not come
        assert.same({ 20, -1 }, { all[1].fd[1], all[2].fd[1] })
    end)

    it("reads numbers that are missing as 0, and skips those that it does not know", function()
        local all, bad = read("few 5\nmany 1 2 3 4 5 6 7 8 9 10 11 12 13 14 =6869\n")
        assert.is_false(bad)
        assert.same({ 5, 0 }, { all[1].n[1], all[1].n[2] })
        assert.same({ 12, "hi" }, { all[2].n[12], all[2].text })
    end)

    it("stops at what is no record", function()
        for _, text in ipairs { "cut off", "good 1\ncut", " 1\n", "\n", "a -1\n", "a x\n", "a  1\n", "a 1 \n",
            "a =6\n", "a =zz\n", "a 99999999999999999999999\n" } do
            local all, bad = read(text)
            assert.is_true(bad, text)
            assert.equal(text:find("^good") and 1 or 0, #all)
        end
        assert.same({}, (read("")))
    end)

    it("reads any bytes", function()
        math.randomseed(7)
        local good = write(false, function(o) put(o, "listener", { 1, 2, 3 }, "127.0.0.1:80") end)
        for _ = 1, 2000 do
            local at = math.random(#good)
            read(good:sub(1, at - 1) .. string.char(math.random(0, 255)) .. good:sub(at + 1))
        end
    end)
end)
