-- SPDX-License-Identifier: MIT
--
-- h2_stream: requests of clients in HTTP/2 as their user sees them; the spec is the user and the client.

local h2 = require("spec.support.h2")
local net = require("spec.support.net")
local unit = require("spec.support.h2_unit")

local C, c, ffi = net.C, net.c, net.ffi
local KB, MB = 1024, 1024 * 1024
local BODY, SINK, ABORT = 1, 2, 4
local FIRST_WINDOW = 4

describe("a stream of a client", function()
    local env, down

    before_each(function() env = net.open() end)
    after_each(function()
        down:close()
        env:spin(0.005)
        assert.equal(0, tonumber(env.mem.live_bytes))
        env:close()
    end)

    -- A request under way: the client, its stream's id, the exchange.
    local function ask(req, opt, client_opt)
        down = down or unit.down(env, opt)
        local cl = down.client or down:connect(client_opt)
        cl:wait(function() return cl.acked end)
        local id = cl:request(req or {})
        return cl, id, (down:until_started())
    end
    before_each(function() down = nil end)

    local function flush(x) return c.err_name(x.ops.flush(x)) end

    -- As much of the request body as comes until `e`.
    local function read_until(cl, x, e)
        local all, how = {}, nil
        assert.is_true(unit.settle(env, cl, function()
            local piece
            how, piece = down:read(x)
            all[#all + 1] = piece
            return how == e
        end))
        return table.concat(all)
    end

    it("is a request, and takes its response", function()
        local cl, id, x = ask { method = "POST", path = "/x", body = "body",
            trailers = { { "x-sum", "4" } } }
        assert.equal("/x", c.lua(x.head.target))
        assert.equal(id, x.stream_id)
        assert.equal("body", read_until(cl, x, "END"))
        assert.is_true(x.trailers ~= nil)
        assert.equal("OK", down:head(x, 200, "LENGTH", 5))
        assert.equal("OK", down:body(x, "hello", true))
        assert.equal("OK", flush(x))
        local res = cl:response(id)
        assert.equal("hello", res.body)
        assert.equal("5", h2.field(res, "content-length"))
    end)

    it("is written as far as the client's window has room, and the user hears of more", function()
        local cl, id, x = ask({}, nil, { windows = false, settings = { { FIRST_WINDOW, 1000 } } })
        down:head(x, 200, "LENGTH", 3000)
        down:body(x, ("r"):rep(3000), true)
        assert.equal("AGAIN", flush(x))
        assert.is_true(unit.settle(env, cl, function()
            return cl.streams[id].pieces and #cl.streams[id].pieces[1] == 1000
        end))
        assert.equal(1000, tonumber(x.ops.taken(x)))
        assert.is_false(down:has_woken(x, SINK))
        cl:send(h2.WINDOW_UPDATE, 0, id, h2.u32(500))
        assert.is_true(unit.settle(env, cl, function() return down:has_woken(x, SINK) end))
        assert.equal("AGAIN", flush(x))
        assert.equal(1500, tonumber(x.ops.taken(x)))
        cl:send(h2.WINDOW_UPDATE, 0, id, h2.u32(1500))
        assert.equal(3000, #cl:response(id).body)
        assert.equal("OK", flush(x))
    end)

    it("tells its user when trailers were all that waited for a window", function()
        local cl, id, x = ask({ fields = { { "te", "trailers" } } }, nil,
            { windows = false, settings = { { FIRST_WINDOW, 1000 } } })
        down:head(x, 200, "CHUNKED")
        down:body(x, ("r"):rep(1000), false) -- fills the window
        assert.equal("OK", flush(x))
        local trailers = env:anchor(ffi.new("struct rp_msg"))
        C.rp_msg_init(trailers, nil, 0, 10)
        assert.equal(0, C.rp_msg_add(trailers, x.arena, 0, c.str("x-sum"), c.str("9")))
        x.res_trailers = trailers
        down:body(x, "", true)
        if flush(x) == "AGAIN" then
            cl:send(h2.WINDOW_UPDATE, 0, id, h2.u32(1))
            assert.is_true(unit.settle(env, cl, function() return down:has_woken(x, SINK) end))
            assert.equal("OK", flush(x))
        end
        assert.same({ { "x-sum", "9" } }, cl:response(id).trailers)
    end)

    it("takes what its SETTINGS leave of a window that was already used", function()
        local cl, id, x = ask({}, nil, { windows = false, settings = { { FIRST_WINDOW, 1000 } } })
        down:head(x, 200, "LENGTH", 1200)
        down:body(x, ("r"):rep(1200), true)
        flush(x)
        assert.is_true(unit.settle(env, cl, function() return cl.streams[id].pieces end))
        -- RFC 9113 §6.9.2: the window becomes negative, and content waits until it is not.
        cl:send(h2.SETTINGS, 0, 0, h2.settings { { FIRST_WINDOW, 500 } })
        cl:send(h2.WINDOW_UPDATE, 0, id, h2.u32(500))
        unit.quiet(env, cl)
        assert.equal(1000, #table.concat(cl.streams[id].pieces))
        cl:send(h2.WINDOW_UPDATE, 0, id, h2.u32(200))
        assert.equal(1200, #cl:response(id).body)
    end)

    it("has its window opened as its content is read", function()
        local cl, id, x = ask({ method = "POST", open = true }, { window = 64 * KB })
        cl:data(id, ("u"):rep(64 * KB))
        unit.quiet(env, cl)
        assert.equal(0, cl.streams[id].window)
        assert.is_true(down:has_woken(x, BODY))
        for _ = 1, 4 do
            local e, piece = down:read(x, 16 * KB)
            assert.same({ "OK", 16 * KB }, { e, #piece })
        end
        assert.equal("AGAIN", (down:read(x)))
        assert.is_true(unit.settle(env, cl, function()
            return cl.streams[id].window == 64 * KB
        end))
    end)

    for _, size in ipairs { 1, 100, 2049, 4000, 9000, 16384 } do
        it(("holds little more than its window in frames of %d bytes, among others"):format(size),
            function()
            local window, n = 256 * KB, size < 100 and 3000 or math.floor(256 * KB / size)
            local cl, slow, x = ask({ method = "POST", open = true }, { window = window })
            local _, fast, y = ask({ method = "POST", open = true })
            local before, sent = tonumber(env.mem.live_bytes), 0
            -- What waits for its windows to open must be read meanwhile.
            local function has_room()
                while down:read(y) == "OK" do end
                return math.min(cl.streams[fast].window, cl.window - size) >= 3000
            end
            for i = 1, n do
                assert.is_true(unit.settle(env, cl, has_room))
                cl:data(slow, ("s"):rep(size))
                cl:data(fast, ("f"):rep(3000))
                sent = sent + size
                if i % 7 == 0 then C.rp_loop_turn(env.loop, 0) end
                while down:read(y) == "OK" do end
            end
            unit.settle(env, cl, function()
                while down:read(y) == "OK" do end
            end, 0.1)
            local held = tonumber(env.mem.live_bytes) - before
            assert.is_true(held <= sent + 256 * KB, ("%d bytes hold %d"):format(sent, held))
            assert.equal(sent, #read_until(cl, x, "AGAIN"))
        end)
    end

    it("throws a megabyte of unwanted content away, and then its window stays shut", function()
        local cl, id, x = ask({ method = "POST", open = true }, { window = 256 * KB })
        x.ops.skip_body(x)
        local sent = 0
        assert.is_true(unit.settle(env, cl, function()
            local room = math.min(cl.streams[id].window, cl.window)
            if room > 0 then
                cl:data(id, ("u"):rep(room))
                sent = sent + room
            end
            return sent >= MB
        end))
        unit.quiet(env, cl)
        local left = cl.streams[id].window
        if left > 0 then cl:data(id, ("u"):rep(left)) end
        unit.quiet(env, cl)
        assert.equal(0, cl.streams[id].window)
    end)

    it("tells its user when the client resets it", function()
        local cl, id, x = ask { method = "POST", open = true }
        cl:send(h2.RST_STREAM, 0, id, h2.u32(h2.CANCEL))
        assert.is_true(unit.settle(env, cl, function() return down:has_woken(x, ABORT) end))
        assert.equal("CLIENT_GONE", (down:read(x)))
        assert.equal("CLIENT_GONE", down:head(x, 200))
    end)

    it("tells its user when the connection ends", function()
        local cl, _, x = ask { method = "POST", open = true }
        cl.wire:close()
        env:until_true(function() return down:has_woken(x, ABORT) end)
        assert.equal("CLIENT_GONE", c.err_name(x.fail))
        down.client = nil
    end)

    it("whose response did not end is reset", function()
        local cl, id, x = ask {}
        down:head(x, 200, "CHUNKED")
        down:body(x, "part", false)
        flush(x)
        down:finish(x)
        local res = cl:response(id)
        assert.equal("part", res.body)
        assert.equal(h2.INTERNAL_ERROR, res.reset)
        assert.is_nil(res.ended)
    end)

    it("without any response is cancelled", function()
        local cl, id, x = ask {}
        down:finish(x)
        assert.equal(h2.CANCEL, cl:response(id).reset)
    end)

    it("does not promise one length and send another", function()
        local cl, id, x = ask {}
        down:head(x, 200, "LENGTH", 3)
        assert.equal("UP_BAD_RESPONSE", down:body(x, "four", false))
        assert.equal("UP_TRUNCATED", down:body(x, "", true))
        down:finish(x)
        assert.equal(h2.INTERNAL_ERROR, cl:response(id).reset)
    end)

    it("over the number that is allowed at once is refused", function()
        down = unit.down(env, { streams = 2 })
        local cl = down:connect()
        local ids = {}
        for i = 1, 3 do ids[i] = cl:request {} end -- before it can know
        for _ = 1, 2 do down:until_started() end
        assert.is_true(unit.settle(env, cl, function()
            return cl.streams[ids[3]].reset == h2.REFUSED_STREAM
        end))
    end)

    it("tells malformed heads from good ones by a code", function()
        local cl, id = ask {}
        local bad = cl:head { path = "/x", fields = { { "Upper", "case" } } }
        assert.equal(h2.PROTOCOL_ERROR, cl:response(bad).reset)
        assert.is_nil(cl.streams[id].reset)
    end)
end)
