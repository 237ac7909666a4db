-- SPDX-License-Identifier: MIT
--
-- Peers that are names: what DNS says is followed, and nothing is lost when it changes or fails.

local dns = require("spec.support.dns")
local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local socket = require("socket")

if protocol.name ~= "h1" then return end -- not about requests

describe("peers that are names", function()
    local rp, d, port

    -- The same port on two addresses: only names tell them apart.
    before_each(function()
        port = origin.start({ ["*"] = { status = 200, body = "one" } }).port
    end)

    after_each(function() e2e.stop(rp) end)

    local function start(upstream, state, more)
        d = dns.start(state)
        rp = proc.rproxy { vars = { o = port, d = d.port }, site = ([[
            return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
                resolver = { servers = { "127.0.0.1:${d}" }, min_ttl = 0, absent = "100ms",
                    stale = "1s", %s },
                upstreams = { api = rp.upstream { %s } }, hosts = { rp.host { default = true,
                routes = { rp.route { "/*", upstream = "api" } } } } } ]]):format(more or 'timeout = "20s"',
                    upstream) }
        rp:wait_stderr("serving site")
    end

    local function get() return http.get(rp.port, "/").status end

    local function peers()
        local _, out = proc.run { process.BIN, "upstreams", "-p", rp.site_path, "--json" }
        local found = {}
        for name in out:gmatch('"peer":"([^"]+)"') do found[#found + 1] = name end
        table.sort(found)
        return table.concat(found, " ")
    end

    local function wait_peers(wanted)
        local last
        assert(posix.poll(function()
            last = peers()
            return last == wanted
        end), ("peers are %s, not %s"):format(tostring(last), wanted))
    end

    it("follow the answer's time to live, and no request is lost when it changes", function()
        start([[peers = { "api.test:${o}" }, tries = 3]],
            { ["api.test"] = { ttl = 1, a = { "127.0.0.1" } } })
        assert.equal(200, get())
        d:set { ["api.test"] = { ttl = 1, a = { "127.0.0.2" } } } -- it listens on no such address
        local changed = posix.poll(function()
            local status = get()
            assert.is_true(status == 200 or status == 502, status)
            return status == 502
        end)
        assert.is_true(changed ~= nil and changed ~= false, "the new address is not used")
        d:set { ["api.test"] = { ttl = 1, a = { "127.0.0.1" } } }
        assert(posix.poll(function() return get() == 200 end), "it does not come back")
    end)

    it("keep their addresses while DNS is silent or fails", function()
        start([[peers = { "api.test:${o}" }]], { ["api.test"] = { ttl = 1, a = { "127.0.0.1" } } },
            'timeout = "200ms", tries = 1')
        assert(posix.poll(function() return get() == 200 end), "its first address is not found")
        for _, mode in ipairs { "silent", "fail" } do
            d:set { mode = mode }
            local ends = posix.now() + 3
            while posix.now() < ends do
                assert.equal(200, get())
                posix.sleep(0.05)
            end
        end
    end)

    it("are a peer for each address where the site says so, and requests go on as they change",
        function()
            start([[peers = { "api.test:${o}" }, resolve = "each", max_fails = 0]],
                { ["api.test"] = { ttl = 1, a = { "127.0.0.1", "127.0.0.2" } } })
            wait_peers(("127.0.0.1:%d 127.0.0.2:%d"):format(port, port))
            for _ = 1, 10 do assert.equal(200, get()) end -- 127.0.0.2 refuses: the other is asked
            d:set { ["api.test"] = { ttl = 1, a = { "127.0.0.1", "127.0.0.3" } } }
            local wanted = ("127.0.0.1:%d 127.0.0.3:%d"):format(port, port)
            assert(posix.poll(function()
                assert.equal(200, get())
                return peers() == wanted
            end), "the peers do not follow")
            d:set { mode = "fail" }
            for _ = 1, 10 do assert.equal(200, get()) end
            assert.equal(wanted, peers())
        end)

    it("of services have their ports, weights and priorities", function()
        start([[peers = { "srv:_http._tcp.test" }]],
            { ["_http._tcp.test"] = { ttl = 1, srv = { { 10, 5, port, "one.test" },
                { 20, 1, port + 1, "two.test" } } }, ["one.test"] = { ttl = 1, a = { "127.0.0.1" } },
                ["two.test"] = { ttl = 1, a = { "127.0.0.2" } } })
        wait_peers(("127.0.0.1:%d 127.0.0.2:%d"):format(port, port + 1))
        for _ = 1, 10 do assert.equal(200, get()) end
        process.must(rp, "reload")
        for _ = 1, 10 do assert.equal(200, get()) end
    end)

    it("whose one family is dead are reached by the other, long before the connect timeout", function()
        local deaf = assert(socket.tcp6()) -- its queue is full: handshakes are dropped
        assert(deaf:bind("::1", port))
        assert(deaf:listen(0))
        local fill = {}
        for i = 1, 3 do
            fill[i] = socket.tcp6()
            fill[i]:settimeout(0)
            fill[i]:connect("::1", port)
        end
        start([[peers = { "api.test:${o}" }, tries = 2, timeouts = { connect = "1h" } ]],
            { ["api.test"] = { ttl = 60, a = { "127.0.0.1" },
                aaaa = { ("0"):rep(31) .. "1" } } })
        for _ = 1, 4 do assert.equal(200, get()) end -- each address has its turn
        deaf:close()
        for i = 1, 3 do fill[i]:close() end
    end)

    it("are asked of other servers after a reload that says so", function()
        start([[peers = { "api.test:${o}" }]], { ["api.test"] = { ttl = 1, a = { "127.0.0.1" } } })
        assert.equal(200, get())
        local second = dns.start { ["new.test"] = { ttl = 1, a = { "127.0.0.1" } } }
        local site = posix.read_file(rp.site_path):gsub("127.0.0.1:" .. d.port,
            "127.0.0.1:" .. second.port):gsub("api.test", "new.test")
        posix.write_file(rp.site_path, site)
        process.must(rp, "reload")
        assert(posix.poll(function() return get() == 200 end), "the new server is not asked")
    end)
end)
