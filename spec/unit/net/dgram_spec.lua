-- SPDX-License-Identifier: MIT
--
-- dgram: UDP sockets, batches, and the address that answers leave from.

local c = require("spec.support.c")
local net = require("spec.support.net")
local socket = require("socket")

local ffi, posix = net.ffi, net.posix
local C = c.load { "net/dgram.h", "net/addr.h", "net/loop.h" }
local ECONNREFUSED, EADDRINUSE, EMSGSIZE = 111, 98, 90
local MOST = 65507

describe("rp_dgram", function()
    local env, batch, os

    before_each(function()
        env = net.open()
        batch = C.rp_dgram_batch_new()
        os = ffi.new("int[1]")
    end)

    after_each(function()
        local b = ffi.new("struct rp_dgram_batch *[1]", batch)
        C.rp_dgram_batch_free(b)
        env:close()
    end)

    local function bind(text)
        local fd = ffi.new("int[1]")
        local e = C.rp_dgram_bind(net.addr(text), fd, os)
        if e ~= 0 then return nil, c.err_name(e), os[0] end
        return env:own(fd[0])
    end

    -- A watched one; on_ready only counts.
    local function watched(make)
        local d = { ready = 0 }
        local out = ffi.new("struct rp_dgram *[1]")
        local fn = env:callback("rp_dgram_fn", function()
            d.ready = d.ready + 1
            if d.on_ready then d.on_ready() end
        end)
        local e = make(fn, out)
        if e ~= 0 then return nil, c.err_name(e), os[0] end
        d.raw = out[0]
        return d
    end

    local function open(text)
        local fd = assert(bind(text))
        local d = assert(watched(function(fn, out)
            return C.rp_dgram_open(env.loop, fd, fn, ffi.cast("void *", 42), out)
        end))
        d.port = net.port_of(fd)
        return d
    end

    local function connect(text)
        return watched(function(fn, out)
            return C.rp_dgram_connect(env.loop, net.addr(text), fn, nil, out, os)
        end)
    end

    local function recv(d)
        local e = C.rp_dgram_recv(d.raw, batch, os)
        if e ~= 0 then return nil, c.err_name(e), os[0] end
        local got = {}
        for i = 0, batch.n - 1 do
            got[#got + 1] = ffi.string(batch.items[i].bytes.ptr, batch.items[i].bytes.len)
        end
        return got
    end

    local function wait_ready(d)
        local before = d.ready
        env:until_true(function() return d.ready > before end, nil, "a datagram")
    end

    local function send(d, texts, to, from)
        local list, sent = ffi.new("rp_str[?]", #texts), ffi.new("struct rp_dgram_sent")
        for i, text in ipairs(texts) do list[i - 1] = c.str(text) end
        local e = C.rp_dgram_send(d.raw, to, from, list, #texts, sent)
        return c.err_name(e), sent
    end

    it("takes a batch in order, whole, of every size", function()
        local d, client = open("127.0.0.1:0"), socket.udp()
        client:setpeername("127.0.0.1", d.port)
        local texts = { "", "a", ("b"):rep(1500), ("c"):rep(MOST), "", "end" }
        for _, text in ipairs(texts) do assert(client:send(text)) end
        local got = {}
        env:until_true(function()
            for _, text in ipairs(recv(d) or {}) do got[#got + 1] = text end
            return #got == #texts
        end, nil, "all of them")
        assert.same(texts, got)
        assert.equal(select(2, client:getsockname()), tostring(batch.items[0].from.port))
        assert.equal(0, batch.items[0]["local"].family) -- bound to one address: nothing to tell
        assert.equal("AGAIN", (select(2, recv(d))))
        assert.equal(42, tonumber(ffi.cast("intptr_t", C.rp_dgram_owner(d.raw))))
    end)

    it("takes at most a batch at a time", function()
        local d, client = open("127.0.0.1:0"), socket.udp()
        client:setpeername("127.0.0.1", d.port)
        for i = 1, C.RP_DGRAM_BATCH + 3 do client:send(tostring(i)) end
        wait_ready(d)
        assert.equal(C.RP_DGRAM_BATCH, #recv(d))
        assert.same({ "33", "34", "35" }, recv(d))
    end)

    it("answers from the address that was written to, where it is bound to none", function()
        local d = open("0.0.0.0:0")
        for _, ip in ipairs { "127.0.0.1", "127.0.0.9" } do
            local client = socket.udp()
            client:settimeout(5)
            client:setpeername(ip, d.port) -- takes answers from there only
            client:send("q")
            wait_ready(d)
            assert.same({ "q" }, recv(d))
            local item = batch.items[0]
            assert.equal(ip, (net.text(item["local"]):gsub(":%d+$", "")))
            assert.same("OK", (send(d, { "answer", "" }, item.from, item["local"])))
            assert.equal("answer", client:receive())
            assert.equal("", client:receive())
        end
    end)

    it("does so over IPv6", function()
        local d, client = open("[::]:0"), socket.udp6()
        client:settimeout(5)
        assert(client:setpeername("::1", d.port))
        client:send("q")
        wait_ready(d)
        assert.same({ "q" }, recv(d))
        local item = batch.items[0]
        assert.equal("[::1]:0", net.text(item["local"]))
        send(d, { ("x"):rep(MOST) }, item.from, item["local"])
        assert.equal(MOST, #client:receive(MOST + 1))
    end)

    it("connected, takes from that address only, and sends there in batches", function()
        local up, stranger = socket.udp(), socket.udp()
        up:setsockname("127.0.0.1", 0)
        up:settimeout(5)
        local d = assert(connect("127.0.0.1:" .. select(2, up:getsockname())))
        local texts = {}
        for i = 1, 70 do texts[i] = "n" .. i end
        local e, sent = send(d, texts)
        assert.same({ "OK", 70, 0, 0 }, { e, sent.sent_n, sent.dropped_n, sent.os })
        local port
        for i = 1, 70 do
            local text, _, from = up:receivefrom()
            assert.equal("n" .. i, text)
            port = from
        end
        stranger:sendto("forged", "127.0.0.1", port)
        up:sendto("answer", "127.0.0.1", port)
        wait_ready(d)
        assert.same({ "answer" }, recv(d))
        assert.equal("AGAIN", (select(2, recv(d))))
    end)

    it("says when nobody listens there, once, and can be used on", function()
        local port = posix.free_port()
        local d = assert(connect("127.0.0.1:" .. port))
        assert.equal("OK", (send(d, { "lost" })))
        wait_ready(d) -- uv_poll stops at an error; the next one comes all the same
        assert.same({ nil, "UP_CONNECT", ECONNREFUSED }, { recv(d) })
        assert.equal("AGAIN", (select(2, recv(d))))
        assert.equal("OK", (send(d, { "lost again" })))
        env:until_true(function() -- the error comes with the next call that touches the socket
            local e, sent = send(d, { "x", "y" })
            return e == "UP_CONNECT" and sent.sent_n < 2 and sent.os == ECONNREFUSED
        end)
        local before = d.ready
        env:until_true(function() -- it is watched still
            send(d, { "z" })
            return d.ready > before
        end)
    end)

    it("drops what cannot be sent and goes on with the rest", function()
        local up = socket.udp()
        up:setsockname("127.0.0.1", 0)
        up:settimeout(5)
        local d = assert(connect("127.0.0.1:" .. select(2, up:getsockname())))
        local e, sent = send(d, { "one", ("x"):rep(MOST + 1), "two" })
        assert.same({ "OK", 2, 1, EMSGSIZE }, { e, sent.sent_n, sent.dropped_n, sent.os })
        assert.equal(6, tonumber(sent.sent_bytes))
        assert.same({ "one", "two" }, { up:receive(), up:receive() })
    end)

    it("refuses unix sockets, and addresses that are in use or not ours", function()
        assert.same({ nil, "INVALID", 0 }, { bind("unix:/tmp/x") })
        assert.same({ nil, "UP_CONNECT", 0 }, { connect("unix:/tmp/x") })
        local other = socket.udp() -- shares its port with nobody
        other:setsockname("127.0.0.1", 0)
        local port = select(2, other:getsockname())
        assert.same({ nil, "BUSY", EADDRINUSE }, { bind("127.0.0.1:" .. port) })
        assert.same({ nil, "OS", 99 }, { bind("192.0.2.77:0") })
    end)

    it("may be closed by its own callback, and by nobody: the loop closes it then", function()
        local d, client = open("127.0.0.1:0"), socket.udp()
        d.on_ready = function() C.rp_dgram_close(d.raw) end
        client:sendto("x", "127.0.0.1", d.port)
        wait_ready(d)
        assert(connect("127.0.0.1:1"))
    end)

    it("at rest tells of nothing, errors included, and of all of it behind that", function()
        local d, client = open("127.0.0.1:0"), socket.udp()
        local refused = assert(connect("127.0.0.1:" .. posix.free_port()))
        d.on_ready = function() C.rp_dgram_rest(d.raw, true) end
        refused.on_ready = function() C.rp_dgram_rest(refused.raw, true) end
        client:sendto("x", "127.0.0.1", d.port)
        send(refused, { "lost" })
        env:until_true(function() return d.ready > 0 and refused.ready > 0 end)
        client:sendto("y", "127.0.0.1", d.port)
        for _ = 1, 20 do C.rp_loop_turn(env.loop, 1) end
        assert.same({ 1, 1 }, { d.ready, refused.ready })
        C.rp_dgram_rest(d.raw, false)
        C.rp_dgram_rest(refused.raw, false)
        env:until_true(function() return d.ready == 2 and refused.ready == 2 end)
        assert.same({ "x", "y" }, recv(d))
        assert.same({ nil, "UP_CONNECT", ECONNREFUSED }, { recv(refused) })
    end)

    it("knows how many sockets a process may have", function()
        assert.is_true(C.rp_dgram_most() > 0)
    end)
end)
