-- SPDX-License-Identifier: MIT
--
-- Hostile and odd HTTP/1 requests as raw bytes, each sent whole and byte by byte. What counts is
-- what a recording origin received: a refused request must not reach it in any form, an accepted
-- one must reach it exactly once and in the form RFC 9110 and 9112 give it.

local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local raw_cases = require("spec.support.raw_cases")
local wire = require("spec.support.wire")

local REFUSED, ACCEPTED = raw_cases.REFUSED, raw_cases.ACCEPTED

local function field(list, name)
    local found = {}
    for _, f in ipairs(list) do
        if f[1]:lower() == name:lower() then found[#found + 1] = f[2] end
    end
    return found
end

-- ---------------------------------------------------------------------------------- running them

describe("raw requests", function()
    local up, rp

    setup(function()
        up = origin.start { ["*"] = { status = 200, body = "ok" } }
        rp = proc.rproxy {
            vars = { origin = up.port },
            site = [[
                return rp.site {
                    workers = 1,
                    limits = { body = 2^20 },
                    log = { access = false },
                    listeners = { rp.listen { "127.0.0.1:${port}" } },
                    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
                    hosts = { rp.host { default = true, routes = {
                        rp.route { "/*", upstream = "o" }, rp.route { "*", upstream = "o" } } } },
                }
            ]],
        }
    end)

    teardown(function()
        rp:stop()
        origin.cleanup()
        proc.cleanup()
    end)

    after_each(wire.close_all)

    local function send(bytes, split)
        local w = wire.connect(rp.port)
        if split then w:send_split(bytes, split) else w:send(bytes) end
        return w
    end

    --- Big inputs are cut into larger pieces: the edges are what matters.
    local function piece(bytes)
        return #bytes <= 400 and 1 or math.floor(#bytes / 300)
    end

    --- Whole requests that came; broken ones are recorded too, some time after they broke off.
    local function whole_requests()
        local list = {}
        for _, r in ipairs(up:requests()) do
            assert.not_equal("/smuggled", r.target)
            if r.complete then list[#list + 1] = r end
        end
        return list
    end

    local function complete_requests()
        return #whole_requests()
    end

    local function wait_whole(n)
        assert.is_truthy(posix.poll(function() return complete_requests() >= n end, 30))
        return whole_requests()
    end

    local function refuse(case, split)
        local _, status, bytes = case[1], case[2], case[3]
        local before = complete_requests()
        local w = send(bytes, split)
        local res = http.read(w)
        assert.equal(status, res.status)
        if case[4] == "path" then -- framing is sound: the connection may live on
            assert.equal(before, complete_requests())
            return
        end
        local rest, why = w:recv_all(20)
        assert.equal("", rest) -- nothing behind the refusal: the connection is done
        assert.is_true(why == "closed" or why == "reset")
        assert.equal(before, complete_requests())
    end

    local function check(wanted, got, raw)
        if wanted.target then assert.equal(wanted.target, got.target) end
        if wanted.method then assert.equal(wanted.method, got.method) end
        if wanted.body then assert.equal(wanted.body, got.body) end
        for name, value in pairs(wanted.fields or {}) do
            assert.same({ value }, field(got.fields, name))
        end
        for name, values in pairs(wanted.lists or {}) do
            assert.same(values, field(got.fields, name))
        end
        for _, name in ipairs(wanted.absent or {}) do
            assert.same({}, field(got.fields, name))
        end
        if wanted.never then assert.is_nil(raw:find(wanted.never, 1, true)) end
    end

    local function accept(case, split)
        local bytes, wanted = case[2], case[3]
        local before = complete_requests()
        local res = http.read(send(bytes, split))
        assert.equal(200, res.status)
        local all = wait_whole(before + 1)
        assert.equal(before + 1, #all)
        local got = all[#all]
        check(wanted, got, up:received(got.conn))
    end

    for _, case in ipairs(REFUSED) do
        it("refuses " .. case[1], function() refuse(case) end)
        if case[5] ~= "whole only" then
            it("refuses " .. case[1] .. ", in pieces", function() refuse(case, piece(case[3])) end)
        end
    end

    for _, case in ipairs(ACCEPTED) do
        it("passes on " .. case[1], function() accept(case) end)
        it("passes on " .. case[1] .. ", in pieces", function() accept(case, piece(case[2])) end)
    end

    it("keeps requests behind a good one apart", function()
        local before = complete_requests()
        local w = wire.connect(rp.port)
        w:send("POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" ..
            "GET /two HTTP/1.1\r\nHost: a\r\n\r\n" ..
            "POST /three HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" ..
            "2\r\nhi\r\n0\r\n\r\n")
        for _ = 1, 3 do assert.equal(200, http.read(w).status) end
        local all = wait_whole(before + 3)
        assert.equal("/one", all[before + 1].target)
        assert.equal("abc", all[before + 1].body)
        assert.equal("/two", all[before + 2].target)
        assert.equal("", all[before + 2].body)
        assert.equal("/three", all[before + 3].target)
        assert.equal("hi", all[before + 3].body)
    end)

    it("has at least 150 cases", function()
        assert.is_true(#REFUSED + #ACCEPTED >= 150)
    end)
end)
