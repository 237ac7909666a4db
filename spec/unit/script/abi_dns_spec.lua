-- SPDX-License-Identifier: MIT

local ffi = require("ffi")
local socket = require("socket")

local support = require("spec.unit.script.support")

local C = support.C

local SRV = 33
local site, server

local function u16(n) return string.char(math.floor(n / 256), n % 256) end

-- A name server of our own: answers by records(type) -> list of record data, or nil: no such name.
local function start(records)
    local sock = assert(socket.udp())
    assert(sock:setsockname("127.0.0.1", 0))
    sock:settimeout(0)
    local _, port = sock:getsockname()
    server = { asked = 0 }
    function server:serve()
        local query, ip, from = sock:receivefrom()
        if not query then return end
        self.asked = self.asked + 1
        local stop = query:find("\0", 13, true)
        local question = query:sub(13, stop + 4)
        local kind = query:byte(stop + 2)
        local list = records(kind)
        local out = { query:sub(1, 2), u16(0x8180 + (list and 0 or 3)), u16(1), u16(#(list or {})),
            u16(0), u16(0), question }
        for _, data in ipairs(list or {}) do
            out[#out + 1] = "\192\12" .. u16(kind) .. u16(1) .. u16(0) .. u16(60) .. u16(#data) .. data
        end
        sock:sendto(table.concat(out), ip, from)
    end
    function server:close() sock:close() end
    return "127.0.0.1:" .. port
end

local function answer(records, body)
    local address = start(records)
    site = support.site(([[ rp.route { "/*", content = function(req)
        %s end } ]]):format(body))
    site.origin = server
    local dns = ffi.new("struct rp_dns *[1]", site.proxy.dns)
    C.rp_dns_free(dns)
    local o = ffi.new("struct rp_dns_options", C.rp_dns_defaults)
    o.servers = address
    site.proxy.dns = C.rp_dns_new_with(site.loop, o)
    local res = site:get("/")
    return res.body
end

describe("script/abi_dns", function()
    after_each(function()
        if site then site:close() end
        site, server = nil, nil
    end)

    local function record(priority, weight, port, label)
        return u16(priority) .. u16(weight) .. u16(port)
            .. string.char(#label) .. label .. "\7example\0"
    end

    it("gives services in the order in which to try them", function()
        assert.equal("one.example:81/1/5 two.example:82/2/0", answer(function(kind)
            assert(kind == SRV)
            return { record(2, 0, 82, "two"), record(1, 5, 81, "one") }
        end, [[
            local list = assert(rp.dns.resolve("_http._tcp.example", "SRV", { timeout = 5 }))
            local words = {}
            for i, s in ipairs(list) do
                words[i] = ("%d/%d/%d"):format(s.port, s.priority, s.weight)
                words[i] = s.name .. ":" .. words[i]
            end
            return req:exit(200, table.concat(words, " ")) ]]))
    end)

    it("says that there is none, and what it does not know", function()
        assert.equal('not_found rp.dns.resolve looks up "A", "AAAA" and "SRV"', answer(function()
            return nil
        end, [[
            local _, err = rp.dns.resolve("_http._tcp.example", "SRV", { timeout = 5 })
            local _, why = pcall(rp.dns.resolve, "a", "MX")
            return req:exit(200, err .. " " .. why:gsub("^[^ ]*: ", "")) ]]))
    end)

    it("gives addresses", function()
        assert.equal("10.1.2.3", answer(function(kind)
            return kind == 1 and { "\10\1\2\3" } or {}
        end, [[
            return req:exit(200, table.concat(assert(rp.dns.resolve("a.example", "A")), " ")) ]]))
    end)
end)
