-- SPDX-License-Identifier: MIT
--
-- h2_io: frames to a socket and back, seen through a link to an upstream (h2_up).

local h2 = require("spec.support.h2")
local net = require("spec.support.net")
local unit = require("spec.support.h2_unit")

local C, ffi, c = net.C, net.ffi, net.c
local U = unit.up
local KB, MB = 1024, 1024 * 1024
local FIRST_WINDOW, WINDOW_MOST = 4, 2 ^ 31 - 1

describe("the connection under HTTP/2", function()
    local env, link

    before_each(function() env = net.open() end)
    after_each(function()
        link:close()
        env:spin(0.005)
        assert.equal(0, tonumber(env.mem.live_bytes))
        env:close()
    end)

    -- A server whose windows are wide open, and an upload to it.
    local function upload(small)
        link = unit.link(env, { small = small })
        local s = link:accept { windows = false, settings = { { FIRST_WINDOW, WINDOW_MOST } } }
        s:send(h2.WINDOW_UPDATE, 0, 0, h2.u32(WINDOW_MOST - 65535))
        local u = link:stream()
        unit.start(env, u, { method = "POST", framing = "CHUNKED" })
        local req = s:next_request(true)
        unit.quiet(env, s)
        return s, u, req
    end

    for _, size in ipairs { 30, 1000, 2048, 5000, 16384 } do
        it(("keeps little more than the frames that wait for it, of %d bytes each"):format(size),
            function()
            local _, u = upload(64 * KB)
            local sent, before = 0, tonumber(env.mem.live_bytes)
            -- Until the socket takes nothing more and what waits for it is at its most.
            local stuck = 0
            while stuck < 5 and sent < 64 * MB do
                local e = unit.send(env, u, ("x"):rep(size), false)
                assert.equal("OK", e)
                sent = sent + size
                if c.err_name(U.flush(u)) == "AGAIN" then
                    stuck = stuck + 1
                    for _ = 1, 3 do C.rp_loop_turn(env.loop, 1) end
                elseif sent % (64 * size) == 0 then
                    C.rp_loop_turn(env.loop, 0)
                end
            end
            assert.equal(5, stuck)
            local held = tonumber(env.mem.live_bytes) - before
            -- A piece may pin four times its bytes, and 256 KB wait for the socket.
            assert.is_true(held <= 1152 * KB, ("frames of %d hold %d"):format(size, held))
        end)
    end

    it("does not read while its frames are not taken, and goes on when they are", function()
        local s, u, req = upload()
        local bytes = ("x"):rep(64 * KB)
        local total = 0
        repeat
            unit.send(env, u, bytes, false)
            total = total + #bytes
            local e = c.err_name(U.flush(u))
            for _ = 1, 5 do C.rp_loop_turn(env.loop, 1) end
        until e == "AGAIN"
        -- These PINGs are not answered, not even read, before somebody listens.
        for i = 1, 20 do net.write(link.far, h2.frame(h2.PING, 0, 0, ("%08d"):format(i))) end
        for _ = 1, 20 do C.rp_loop_turn(env.loop, 1) end
        local function got()
            local n = 0
            for _, piece in ipairs(req.pieces or {}) do n = n + #piece end
            return n
        end
        assert.is_true(unit.settle(env, s, function() return s.pong == "00000020" end))
        env:until_true(function()
            unit.settle(env, s, nil, 0.02)
            U.flush(u)
            return got() == total
        end)
    end)

    it("ends when the other side speaks something else", function()
        link = unit.link(env)
        local u = link:stream()
        unit.start(env, u)
        net.write(link.far, "HTTP/1.1 400 Bad Request\r\n\r\n")
        local arena, msg = ffi.new("struct rp_arena"), ffi.new("struct rp_msg")
        local limits, chunk = ffi.new("struct rp_h1_limits", 65536, 65536, 100),
            ffi.new("struct rp_chunk *[1]")
        C.rp_arena_init(arena, nil, 0, 1e6)
        local e
        env:until_true(function()
            C.rp_msg_init(msg, nil, 0, 100)
            e = c.err_name(U.read_head(u, limits, arena, msg, chunk))
            return e ~= "AGAIN"
        end)
        C.rp_arena_reset(arena)
        assert.equal("UP_CLOSED", e)
    end)

    it("survives what comes byte by byte", function()
        link = unit.link(env)
        local u, about = link:stream()
        unit.start(env, u)
        local bytes = h2.frame(h2.SETTINGS, 0, 0, "") .. h2.frame(h2.HEADERS,
            h2.END_HEADERS, 1, h2.block { { ":status", "200" } })
            .. h2.frame(h2.DATA, h2.END_STREAM, 1, ("d"):rep(300))
        for i = 1, #bytes do
            net.write(link.far, bytes:sub(i, i))
            C.rp_loop_turn(env.loop, 1)
        end
        env:until_true(function() return U.at_hand(u) == 300 end)
        assert.is_true(about.woken > 0)
    end)
end)
