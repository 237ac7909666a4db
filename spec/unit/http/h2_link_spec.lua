-- SPDX-License-Identifier: MIT
--
-- h2_link: the life of a connection to an upstream, and which one a request gets.

local h2 = require("spec.support.h2")
local net = require("spec.support.net")
local unit = require("spec.support.h2_unit")

local C, ffi = net.C, net.ffi
local MAX_STREAMS = 3

describe("an HTTP/2 link", function()
    local env, links, opened, emptied

    before_each(function()
        env = net.open()
        links, opened, emptied = env:anchor(ffi.new("struct rp_h2_links")), {}, 0
        links.emptied = env:callback("void (*)(struct rp_h2_links *)", function()
            emptied = emptied + 1
        end)
    end)

    after_each(function()
        for _, k in ipairs(opened) do
            for i = #k.streams, 1, -1 do k:give_back(k.streams[i].u) end
        end
        C.rp_h2_links_close(links)
        for _, k in ipairs(opened) do
            if k.server then k.server.wire:close() else net.sys.close(k.far) end
        end
        env:spin(0.005)
        assert.equal(0, tonumber(env.mem.live_bytes))
        env:close()
    end)

    local function open(opt)
        local all = { links = links }
        for name, value in pairs(opt or {}) do all[name] = value end
        local k = unit.link(env, all)
        opened[#opened + 1] = k
        return k
    end

    local function find()
        local k = C.rp_h2_links_find(links, false)
        return k ~= nil and k or nil
    end

    -- A request under way: the stream, the server's record of it.
    local function ask(k)
        local u = k:stream()
        unit.start(env, u)
        return u, k.server:next_request(true)
    end

    it("takes requests once its upstream said how many", function()
        local k = open()
        assert.is_nil(find())
        assert.is_true(C.rp_h2_links_are_settling(links))
        k:accept()
        assert.equal(k.raw, find())
        assert.is_false(C.rp_h2_links_are_settling(links))
    end)

    it("takes as many as we and the upstream allow", function()
        local k = open { streams = 2 }
        local s = k:accept { settings = { { MAX_STREAMS, 100 } } }
        ask(k)
        assert.equal(k.raw, find())
        local u = ask(k)
        assert.is_nil(find())
        k:give_back(u)
        assert.equal(k.raw, find())
        s:send(h2.SETTINGS, 0, 0, h2.settings { { MAX_STREAMS, 1 } })
        assert.is_true(unit.settle(env, s, function() return not find() end))
    end)

    it("that is fuller is taken first, so that others can end", function()
        local a, b = open(), open()
        a:accept()
        b:accept()
        ask(b)
        assert.equal(b.raw, find())
        ask(a)
        ask(a)
        assert.equal(a.raw, find())
    end)

    it("takes none after GOAWAY, and closes behind its last one", function()
        local k = open()
        local s = k:accept()
        local u, req = ask(k)
        s:send(h2.GOAWAY, 0, 0, h2.u32(req.id) .. h2.u32(0))
        assert.is_true(unit.settle(env, s, function() return not find() end))
        assert.equal(1, links.n)
        s:respond(req.id, { status = 200 })
        unit.quiet(env, s)
        k:give_back(u)
        env:until_true(function() return links.n == 0 end)
        assert.equal(1, emptied)
    end)

    it("without requests closes at GOAWAY, at the end, and at bytes that are no HTTP/2", function()
        local how = {
            function(s) s:send(h2.GOAWAY, 0, 0, h2.u32(0) .. h2.u32(0)) end,
            function(s) s.wire:close() end,
            function(s) s.wire:send(("not HTTP/2 at all"):rep(100)) end,
        }
        for i, act in ipairs(how) do
            local k = open()
            act(k:accept())
            env:until_true(function() return links.n == 0 end)
            assert.equal(i, emptied)
        end
    end)

    it("leaves after so many requests", function()
        local k = open { requests = 2 }
        k:accept()
        local u1 = ask(k)
        assert.equal(k.raw, find())
        local u2 = ask(k)
        assert.is_nil(find())
        k:give_back(u1)
        k:give_back(u2)
        assert.is_true(unit.settle(env, k.server, function() return k.server.goaway end))
        env:until_true(function() return links.n == 0 end)
    end)

    it("says GOAWAY and closes when nobody used it for a while", function()
        local k = open { idle = 30 }
        local s = k:accept()
        assert.is_true(unit.settle(env, s, function() return s.goaway end))
        assert.equal(h2.NO_ERROR, s.goaway.code)
        env:until_true(function() return links.n == 0 end)
    end)

    it("in use is not idle", function()
        local k = open { idle = 30 }
        k:accept()
        local u, req = ask(k)
        unit.settle(env, k.server, nil, 0.15)
        assert.is_nil(k.server.goaway)
        k.server:respond(req.id, { status = 200 })
        unit.quiet(env, k.server)
        k:give_back(u)
        assert.is_true(unit.settle(env, k.server, function() return k.server.goaway end))
    end)

    it("that drains lets its requests end", function()
        local idle, busy = open(), open()
        idle:accept()
        busy:accept()
        local u, req = ask(busy)
        C.rp_h2_links_drain(links)
        assert.is_nil(find())
        env:until_true(function() return links.n == 1 end)
        busy.server:respond(req.id, { status = 200 })
        unit.quiet(env, busy.server)
        busy:give_back(u)
        env:until_true(function() return links.n == 0 end)
        assert.equal(1, emptied)
    end)

    it("tells what it carries", function()
        local k = open()
        k:accept()
        ask(k)
        local buf = ffi.new("struct rp_buf")
        C.rp_buf_init(buf, 10000)
        C.rp_h2_links_dump(links, net.c.str("peer=x "), buf)
        local text = net.c.lua(C.rp_buf_str(buf))
        C.rp_buf_fini(buf)
        assert.equal("peer=x requests=1 streams=1 unread=0 unsent=0 leaving=0\n", text)
    end)
end)
