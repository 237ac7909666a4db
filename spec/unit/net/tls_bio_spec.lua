-- SPDX-License-Identifier: MIT
--
-- tls_bio: sealed bytes between OpenSSL and the socket: what is counted, batched and kept.

local net = require("spec.support.net")
local pair = require("spec.support.tls_pair")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local tls = require("spec.support.tls")

local sys, c = net.sys, net.c
local C = pair.C
local KB = 1024
local RECORD_COST = 22 -- head, content type and tag of TLS 1.3 with GCM (RFC 8446 §5.2)

describe("sealed bytes", function()
    local dir, env, server

    lazy_setup(function()
        dir = tls.dir()
        tls.cert(dir, "a", { names = { "a.test" } })
        server = assert(pair.server(dir))
    end)
    lazy_teardown(proc.cleanup)
    before_each(function() env = net.open() end)
    after_each(function() env:close() end)

    local function open(opt)
        local conn, e = pair.accept(env, server, opt)
        env:spin(0.01)
        return conn, e
    end

    it("are counted as they are on the wire", function()
        local conn, e = open()
        local face = conn.face
        local out, into = tonumber(face.out_bytes), tonumber(face.in_bytes)
        assert.equal("OK", conn:send(("x"):rep(1000)))
        assert.equal(1000 + RECORD_COST, tonumber(face.out_bytes) - out)
        assert.equal(1000, #e:recv(1000))
        e:send(("y"):rep(500))
        env:until_true(function() return #select(2, conn:recv()) == 500 end)
        assert.equal(500 + RECORD_COST, tonumber(face.in_bytes) - into)
        conn:close()
    end)

    it("of many small pieces share records", function()
        local conn, e = open()
        local out = tonumber(conn.face.out_bytes)
        for i = 1, 1000 do C.rp_chain_add_copy(conn.chain, c.str(("%03d"):format(i % 1000))) end
        assert.equal("OK", conn:send())
        assert.equal(3000 + RECORD_COST, tonumber(conn.face.out_bytes) - out)
        assert.equal(3000, #e:recv(3000))
        conn:close()
    end)

    it("of a large piece are full records", function()
        local conn, e = open()
        local n, got = 100 * KB, ""
        conn.on_event = function(_, events)
            if events >= 2 then conn:send() end
        end
        local out = tonumber(conn.face.out_bytes)
        conn:send(("x"):rep(n))
        while #got < n do got = got .. e:recv(math.min(16 * KB, n - #got)) end
        env:until_true(function() return conn.chain.bytes == 0 end)
        -- A connection may begin with smaller ones, so that the first bytes are readable early.
        local records = math.ceil((tonumber(conn.face.out_bytes) - out - n) / RECORD_COST)
        assert.is_true(records >= 7 and records <= 80, records .. " records")
        conn:close()
    end)

    it("that the socket does not take are one batch at most, and none when all is sent", function()
        local conn, e = open { small = 4096 }
        local n = 0
        local function fill()
            repeat n = n + 64 * KB until conn:send(("x"):rep(64 * KB)) ~= "OK"
        end
        fill()
        -- After AGAIN the rest is in the chain, in plain: nothing more is sealed meanwhile. The system
        -- may still find room, on a slow machine later than we look: then it is filled, too.
        assert.is_truthy(posix.poll(function()
            local rest = tonumber(conn.chain.bytes)
            for _ = 1, 10 do
                if conn:send() == "OK" then
                    fill()
                    return false
                end
                posix.sleep(0.002)
            end
            return rest > 0 and rest == tonumber(conn.chain.bytes)
        end, 20))
        conn.on_event = function(_, events)
            if events >= 2 then conn:send() end
        end
        assert.equal(n, e:drain(n))
        env:until_true(function() return conn.chain.bytes == 0 end)
        conn:send("tail")
        assert.equal("tail", e:recv(4))
        conn:close()
    end)

    it("are lost with a connection that is reset, and that is told once", function()
        local conn, e = open()
        net.reset_on_close(e.fd)
        sys.close(e.fd)
        for i, fd in ipairs(env.fds) do
            if fd == e.fd then table.remove(env.fds, i) end
        end
        env:until_true(function()
            local how = conn:send(("x"):rep(1000))
            return how ~= "OK" and how ~= "AGAIN"
        end)
        assert.equal("CLOSED", conn:send("y"))
        conn:close()
    end)
end)
