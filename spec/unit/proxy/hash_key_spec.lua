-- SPDX-License-Identifier: MIT
--
-- hash_key: what a request is known by.

local inproc = require("spec.support.inproc")

local C, c, ffi = inproc.C, inproc.c, inproc.ffi

local PARTS = { ip = 0, host = 1, path = 2, query = 3, arg = 4, header = 5, cookie = 6 }

describe("a request's hash key", function()
    local p

    after_each(function() p:close() end)

    -- What it is for requests with these heads, by these parts: { "ip" }, { "arg", "id" }.
    local function keys(parts, heads)
        p = inproc.open { site = function(s, _, up)
            for _, part in ipairs(parts) do
                assert(C.rp_conf_add_hash(s.conf, up, PARTS[part[1]], c.str(part[2] or "")) == 0)
            end
        end }
        local found, out = {}, ffi.new("uint64_t[1]")
        for i, head in ipairs(heads) do
            local client = p:client()
            client:send(head .. "\r\n\r\n")
            p:accept():head()
            local any = C.rp_hash_key_of(p.raw.live, p.conf.upstreams[0], out)
            found[i] = any and tostring(out[0]) or "none"
            client:reset()
            p:idle()
        end
        return found
    end

    local function get(target, fields) return "GET " .. target .. " HTTP/1.1\r\nHost: a" .. (fields or "") end

    it("is what the client sent, by name", function()
        local k = keys({ { "arg", "id" } }, { get("/?id=1"), get("/x?a=2&id=1"), get("/?id=2"),
            get("/?ID=1"), get("/"), get("/?id=") })
        assert.equal(k[1], k[2])
        assert.are_not.equal(k[1], k[3])
        assert.equal("none", k[4])
        assert.equal("none", k[5])
        assert.are_not.equal("none", k[6]) -- empty is not absent
    end)

    it("tells its parts apart", function()
        local k = keys({ { "header", "x-a" }, { "cookie", "b" } }, {
            get("/", "\r\nX-A: 12\r\nCookie: b=3"), get("/", "\r\nX-A: 1\r\nCookie: b=23"),
            get("/", "\r\nX-A: 123"), get("/", "\r\nCookie: c=1; b=123"),
            get("/", "\r\nCookie: q=1\r\nx-a: 12\r\nCookie: b=3"), get("/") })
        for i = 1, 4 do
            for n = i + 1, 4 do assert.are_not.equal(k[i], k[n]) end
        end
        assert.equal(k[1], k[5])
        assert.equal("none", k[6])
    end)

    it("is the same for all requests of an address, and for its streams", function()
        local k = keys({ { "ip" } }, { get("/"), get("/other") })
        assert.equal(k[1], k[2])
        local addr, u = ffi.new("struct rp_addr"), p.conf.upstreams[0]
        assert.equal(0, C.rp_addr_parse_ip(c.str("127.0.0.1"), addr))
        assert.equal(k[1], tostring(C.rp_hash_key_client(p.raw, u, addr)))
        assert.equal(0, C.rp_addr_parse_ip(c.str("127.0.0.2"), addr))
        assert.are_not.equal(k[1], tostring(C.rp_hash_key_client(p.raw, u, addr)))
    end)

    it("of a stream that has none of the parts is drawn", function()
        keys({ { "path" } }, {})
        local addr = ffi.new("struct rp_addr")
        local one = C.rp_hash_key_client(p.raw, p.conf.upstreams[0], addr)
        assert.is_true(one ~= C.rp_hash_key_client(p.raw, p.conf.upstreams[0], addr))
    end)
end)
