-- SPDX-License-Identifier: MIT
--
-- stream_route and conf_stream: rules by server name and protocol, and what makes a stream.

local c = require("spec.support.c")
local site = require("spec.support.site")
local ffi = c.ffi

local C = c.load { "proxy/conf.h", "proxy/stream_route.h" }
local NONE = site.NONE
local SNI, ALPN = 0, 1

local function wire_list(names)
    local list = {}
    for i, name in ipairs(names or {}) do list[i] = string.char(#name) .. name end
    return table.concat(list)
end

describe("a stream's rules", function()
    local s, e, up

    before_each(function()
        s = site.new()
        e = ffi.new("struct rp_conf_error")
        up = {}
        for _, name in ipairs { "a", "b", "c", "d" } do up[name] = s:upstream(name) end
    end)
    after_each(function() s:close() end)

    local function stream(default)
        local index = ffi.new("uint32_t[1]")
        assert.equal(0, C.rp_conf_add_stream(s.conf, index))
        if default then
            assert.equal(0, C.rp_conf_set_stream(s.conf, index[0], c.str("upstream"), up[default]))
        end
        return index[0]
    end

    local function rule(index, kind, name, to)
        return c.err_name(C.rp_conf_add_stream_rule(s.conf, index, kind, c.str(name),
            to and up[to] or NONE, e)), ffi.string(e.text)
    end

    local function find(index, sni, alpn)
        local found = C.rp_stream_route_find(s.conf.streams[index],
            sni and c.str(sni) or ffi.new("rp_str"), c.str(wire_list(alpn)))
        return found ~= nil and c.lua(found.name) or nil
    end

    it("go by exact name, then by the longest wildcard, then by the default", function()
        local i = stream("d")
        rule(i, SNI, "*.example", "c")
        rule(i, SNI, "*.B.example", "b")
        rule(i, SNI, "x.b.Example", "a")
        s:freeze()
        assert.equal("a", find(i, "x.b.example"))
        assert.equal("b", find(i, "y.b.example"))
        assert.equal("b", find(i, "z.y.b.example"))
        assert.equal("b", find(i, "a.x.b.example"))
        assert.equal("c", find(i, "b.example"))
        assert.equal("c", find(i, "other.example"))
        assert.equal("d", find(i, "example"))
        assert.equal("d", find(i, "notexample"))
        assert.equal("d", find(i, nil))
    end)

    it("go by the first protocol of the client that has a rule, before any name", function()
        local i = stream()
        rule(i, ALPN, "h2", "a")
        rule(i, ALPN, "acme-tls/1", "b")
        rule(i, SNI, "x.example", "c")
        s:freeze()
        assert.equal("a", find(i, "x.example", { "spdy", "h2", "acme-tls/1" }))
        assert.equal("b", find(i, nil, { "acme-tls/1", "h2" }))
        assert.equal("c", find(i, "x.example", { "H2", "h" }))
        assert.is_nil(find(i, nil, { "h3" }))
    end)

    it("may refuse a name that a wildcard would take", function()
        local i = stream("d")
        rule(i, SNI, "*.example", "a")
        rule(i, SNI, "no.example", nil)
        s:freeze()
        assert.is_nil(find(i, "no.example"))
        assert.equal("a", find(i, "x.no.example"))
    end)

    it("are found among thousands", function()
        local i = stream("d")
        for n = 1, 3000 do rule(i, SNI, ("h%d.example"):format(n), n % 2 == 0 and "a" or "b") end
        s:freeze()
        for n = 1, 3000, 7 do
            assert.equal(n % 2 == 0 and "a" or "b", find(i, ("h%d.example"):format(n)))
        end
        assert.equal("d", find(i, "h0.example"))
    end)

    it("are refused when they are none", function()
        local i = stream()
        for _, name in ipairs { "", "*", "*.", "a.*", "**.a", "a..b", ".a", "a.", "a b", "a:443" } do
            local result, text = rule(i, SNI, name, "a")
            assert.equal("INVALID", result)
            assert.matches("is no server name", text, 1, true)
        end
        assert.equal("INVALID", (rule(i, ALPN, "", "a")))
        assert.equal("INVALID", (rule(i, ALPN, ("x"):rep(256), "a")))
        assert.equal("OK", (rule(i, ALPN, ("x"):rep(255), "a")))
        assert.equal("NOT_FOUND", c.err_name(C.rp_conf_add_stream_rule(s.conf, i, SNI, c.str("a"), 99,
            e)))
        assert.equal("NOT_FOUND", c.err_name(C.rp_conf_add_stream_rule(s.conf, 99, SNI, c.str("a"), 0,
            e)))
    end)

    it("name each server once", function()
        local i = stream()
        rule(i, SNI, "a.example", "a")
        rule(i, SNI, "A.example", "b")
        assert.equal('a stream has two rules for "a.example"', s:freeze_error())
    end)

    it("go nowhere where a balance hook chooses by request", function()
        local i = stream("a")
        assert.equal(0, C.rp_conf_set_upstream(s.conf, up.a, c.str("balance"), 1))
        assert.equal(0, C.rp_conf_set_upstream(s.conf, up.a, c.str("balance_chain"), 7))
        assert.matches('upstream "a" cannot be a stream\'s', s:freeze_error(), 1, true)
        assert.equal(0, i)
    end)

    it("or an upstream are what a stream needs; reading the hello follows from them", function()
        local i = stream()
        assert.equal("a stream has no upstream", s:freeze_error())
        assert.is_false(s.conf.streams[i].peek)
        rule(i, SNI, "a.example", "a")
        assert.is_true(s.conf.streams[i].peek)
        local listener = ffi.new("uint32_t[1]")
        assert.equal(0, C.rp_conf_add_stream_listener(s.conf, i, c.str("127.0.0.1:1"), listener, e))
        assert.equal("INVALID", c.err_name(C.rp_conf_add_stream_listener(s.conf, i,
            c.str("127.0.0.1:1"), listener, e)))
        s:freeze()
        assert.is_true(s.conf.listeners[0].stream == s.conf.streams[i])
        assert.equal("PHASE", c.err_name(C.rp_conf_add_stream(s.conf, listener)))
    end)
end)
