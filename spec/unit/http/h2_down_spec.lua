-- SPDX-License-Identifier: MIT
--
-- h2_down: the life of a client's HTTP/2 connection: time, drains, floods, ends.

local h2 = require("spec.support.h2")
local net = require("spec.support.net")
local unit = require("spec.support.h2_unit")

local C, c, ffi = net.C, net.c, net.ffi

describe("a client's HTTP/2 connection", function()
    local env, down

    before_each(function()
        env = net.open()
        c.load { "base/log.h" }
    end)
    after_each(function()
        down:close()
        env:spin(0.005)
        assert.equal(0, tonumber(env.mem.live_bytes))
        env:close()
    end)

    local function open(opt, client_opt)
        down = unit.down(env, opt)
        return down:connect(client_opt)
    end

    local function answer(x)
        down:head(x, 200, "LENGTH", 2)
        down:body(x, "ok", true)
        x.ops.flush(x)
        down:finish(x)
    end

    local function gone() return down.all.n == 0 end

    it("announces what it takes", function()
        local cl = open { streams = 7, window = 12345 }
        cl:wait(function() return cl.acked end)
        assert.equal(7, cl.settings[3])
        assert.equal(12345, cl.settings[4])
        assert.equal(32768, cl.settings[6])
        assert.equal(1, cl.settings[8]) -- RFC 8441
    end)

    it("counts its sessions and streams", function()
        local cl = open()
        for _ = 1, 3 do
            local id = cl:request {}
            answer((down:until_started()))
            assert.equal("ok", cl:response(id).body)
        end
        assert.same({ 1, 3, 0 }, { tonumber(down.counts.sessions), tonumber(down.counts.streams),
            tonumber(down.counts.calmed) })
    end)

    it("without a request, or without the rest of a head, ends in time", function()
        local cl = open { head = 50, linger = 50 }
        assert.is_true(unit.settle(env, cl, gone))
        cl.wire:close()
        cl = down:connect()
        cl:wait(function() return cl.acked end)
        cl:send(h2.HEADERS, h2.END_STREAM, 1, h2.block { { ":method", "GET" } }) -- no END_HEADERS
        local _, err = down:until_started()
        assert.equal("HEAD_TIMEOUT", err)
        down:finish(down.started[1].x)
        assert.is_true(unit.settle(env, cl, gone))
    end)

    it("that is idle is told GOAWAY, whatever it pings", function()
        local cl = open { keepalive = 100, linger = 50 }
        local id = cl:request {}
        answer((down:until_started()))
        cl:response(id)
        local pings = 0
        assert.is_true(unit.settle(env, cl, function()
            if not cl.goaway and pings < 200 then cl:send(h2.PING, 0, 0, ("p"):rep(8)) end
            pings = pings + 1
            return cl.goaway
        end))
        assert.equal(h2.NO_ERROR, cl.goaway.code)
        assert.is_true(unit.settle(env, cl, gone))
    end)

    it("that drains says so twice, and serves what was on its way", function()
        local cl = open()
        local id = cl:request {}
        local x = down:until_started()
        C.rp_h2_downs_drain(down.all)
        assert.is_true(unit.settle(env, cl, function() return cl.goaway end))
        assert.equal(2 ^ 31 - 1, cl.goaway.last)
        local late = cl:request {} -- sent before it could know
        answer((down:until_started()))
        assert.equal("ok", cl:response(late).body)
        assert.is_true(unit.settle(env, cl, function() return cl.goaway.n == 2 end))
        assert.equal(late, cl.goaway.last)
        answer(x)
        assert.equal("ok", cl:response(id).body)
        assert.is_true(unit.settle(env, cl, gone))
    end)

    it("that drains without a request ends at once", function()
        local cl = open()
        cl:wait(function() return cl.acked end)
        C.rp_h2_downs_drain(down.all)
        assert.is_true(unit.settle(env, cl, gone))
        assert.equal(1, cl.goaway.n)
    end)

    it("ends behind so many requests", function()
        local cl = open { requests = 2 }
        for _ = 1, 2 do
            local id = cl:request {}
            answer((down:until_started()))
            assert.equal("ok", cl:response(id).body)
        end
        assert.is_true(unit.settle(env, cl, function() return cl.goaway end))
    end)

    -- ------------------------------------------------------------ floods

    local function flood(kind, n, act)
        it("is ended with ENHANCE_YOUR_CALM by too many frames: " .. kind, function()
            local level = C.rp_log_threshold
            C.rp_log_threshold = C.RP_LOG_error
            local cl = open()
            cl:wait(function() return cl.acked end)
            for i = 1, n do
                if cl.goaway or not pcall(act, cl, i) then break end
                if i % 50 == 0 then C.rp_loop_turn(env.loop, 0) end
            end
            assert.is_true(unit.settle(env, cl, function() return cl.goaway end))
            assert.equal(h2.ENHANCE_YOUR_CALM, cl.goaway.code)
            assert.equal(1, tonumber(down.counts.calmed))
            C.rp_log_threshold = level
        end)
    end

    flood("PING", 3000, function(cl) cl:send(h2.PING, 0, 0, ("p"):rep(8)) end)
    flood("SETTINGS", 3000, function(cl) cl:send(h2.SETTINGS, 0, 0, "") end)
    flood("WINDOW_UPDATE", 3000, function(cl) cl:send(h2.WINDOW_UPDATE, 0, 0, h2.u32(1)) end)
    flood("PRIORITY", 3000, function(cl) cl:send(h2.PRIORITY, 0, 3, h2.u32(0) .. "\1") end)

    it("that breaks a rule is told which", function()
        local cases = {
            { h2.FRAME_SIZE_ERROR, h2.frame(h2.PING, 0, 0, "short") },
            { h2.PROTOCOL_ERROR, h2.frame(h2.DATA, 0, 0, "x") },
            { h2.FLOW_CONTROL_ERROR, h2.frame(h2.WINDOW_UPDATE, 0, 0, h2.u32(2 ^ 31 - 1)) },
            { h2.COMPRESSION_ERROR, h2.frame(h2.HEADERS, h2.END_HEADERS + h2.END_STREAM, 1, "\xff\xff\xff") },
        }
        down = unit.down(env)
        for i, case in ipairs(cases) do
            local cl = down:connect()
            cl:wait(function() return cl.acked end)
            cl.wire:send(case[2])
            assert.is_true(unit.settle(env, cl, function() return cl.goaway end), "case " .. i)
            assert.equal(case[1], cl.goaway.code)
            assert.is_true(unit.settle(env, cl, function()
                for _, s in ipairs(down.started) do
                    if not s.done then down:finish(s.x) end
                    s.done = true
                end
                return gone()
            end))
            cl.wire:close()
            down.client = nil
        end
    end)

    it("tells what it carries", function()
        local cl = open()
        cl:request { method = "POST", open = true }
        down:until_started()
        local buf = ffi.new("struct rp_buf")
        C.rp_buf_init(buf, 10000)
        C.rp_h2_downs_dump(down.all, buf)
        local text = c.lua(C.rp_buf_str(buf))
        C.rp_buf_fini(buf)
        assert.equal("h2 conn=7 client=127.0.0.1 requests=1 streams=1 unread=0 unsent=0 going=0\n",
            text)
    end)
end)
