-- SPDX-License-Identifier: MIT
local rules = require("rproxy.grant_rules")

local function covers(rule, host, port)
    return rules.net_covers(assert(rules.net(rule)), host, port)
end

describe("rproxy.grant_rules", function()
    it("reads addresses as bytes, IPv4 within IPv6", function()
        local v4 = rules.ip("10.0.0.1")
        assert.equal(16, #v4)
        assert.equal(v4, (rules.ip("::ffff:10.0.0.1")))
        assert.equal(v4, (rules.ip("::FFFF:a00:1")))
        assert.equal(("\0"):rep(15) .. "\1", (rules.ip("::1")))
        assert.equal((rules.ip("2001:db8:0:0:0:0:0:1")), (rules.ip("2001:db8::1")))
        for _, text in ipairs { "10.0.0", "10.0.0.256", "1.2.3.4.5", "", "a", ":::", "1::2::3", "::12345",
            "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "fe80::1%eth0", "0x7f.0.0.1", "::1.2.3", "1.2.3.4:80" } do
            assert.is_nil((rules.ip(text)), text)
        end
    end)

    it("covers a name by that name, with its port", function()
        assert.is_true(covers("api.example:443", "api.example", 443))
        assert.is_true(covers("API.Example:443", "api.EXAMPLE.", 443))
        assert.is_false(covers("api.example:443", "api.example", 80))
        assert.is_false(covers("api.example:443", "x.api.example", 443))
        assert.is_false(covers("api.example:443", "xapi.example", 443))
        assert.is_true(covers("api.example:*", "api.example", 80))
        assert.is_true(covers("api.example:443", "api.example", nil))
    end)

    it("covers what is below a name, not the name", function()
        assert.is_true(covers("*.example.com:443", "a.example.com", 443))
        assert.is_true(covers("*.example.com:443", "a.b.example.com", 443))
        assert.is_false(covers("*.example.com:443", "example.com", 443))
        assert.is_false(covers("*.example.com:443", "badexample.com", 443))
        assert.is_false(covers("*.example.com:443", ".example.com", 443))
    end)

    it("covers addresses by networks, never by names", function()
        assert.is_true(covers("10.0.0.0/8:6379", "10.1.2.3", 6379))
        assert.is_true(covers("10.0.0.0/8:6379", "::ffff:10.1.2.3", 6379))
        assert.is_false(covers("10.0.0.0/8:6379", "11.1.2.3", 6379))
        assert.is_true(covers("10.0.0.1:80", "10.0.0.1", 80))
        assert.is_false(covers("10.0.0.1:80", "10.0.0.2", 80))
        assert.is_true(covers("[2001:db8::/33]:443", "[2001:db8::1]", 443))
        assert.is_false(covers("[2001:db8::/33]:443", "2001:db8:8000::1", 443))
        assert.is_false(covers("10.0.0.0/8:6379", "ten.example", 6379))
        assert.is_false(covers("0.0.0.0/0:*", "::1", 80))
        assert.is_true(covers("*:80", "10.0.0.1", 80))
        assert.is_true(covers("*", "10.0.0.1", 80))
        assert.is_true(covers("*", "/run/x", 0))
        assert.is_false(covers("*:80", "/run/x", 0))
    end)

    it("covers unix sockets by path", function()
        assert.is_true(covers("unix:/run/x.sock", "/run/./y/../x.sock", 0))
        assert.is_false(covers("unix:/run/x.sock", "/run/x.sock2", 0))
        assert.is_false(covers("unix:/run/x.sock", "x", 80))
    end)

    it("refuses what is no place", function()
        for _, text in ipairs { "api.example", "api.example:0", "api.example:65536", ":80", "a b:80",
            "*.1:80", "*.0.0.1:80", "10.0.0.0/33:80", "[::1]", "a*b:80", "http://a:80", "a:80/x", "127.1:80",
            "2130706433:80", "api.example:http", "[a]:b", "unix:" } do
            assert.is_nil((rules.net(text)), text)
        end
        assert.is_nil((rules.net({})))
    end)

    it("makes paths normal before it compares them", function()
        for given, wanted in pairs { ["/a//b/./c/../d"] = "/a/b/d", ["/../.."] = "/", ["a/b"] = "a/b",
            ["./a"] = "a", ["a/../../b"] = "../b", ["/a/"] = "/a", ["."] = "" } do
            assert.equal(wanted, rules.normal(given), given)
        end
        local function within(root, path)
            return rules.path_covers(rules.path(root), rules.normal(path))
        end
        assert.equal(4, within("/var", "/var/x"))
        assert.equal(4, within("/var/", "/var"))
        assert.is_nil(within("/var", "/variety"))
        assert.is_nil(within("/var", "/var/../etc"))
        assert.equal(1, within("/", "/etc"))
        assert.is_nil(within("/", "etc"))
        assert.equal(0, within(".", "data/x"))
        assert.is_nil(within(".", "../x"))
        assert.is_nil(within(".", "/x"))
    end)

    it("covers programs by path and shape", function()
        local function may(rule, words, env)
            return rules.exec_covers(assert(rules.exec(rule)), words, env)
        end
        assert.is_true(may("/bin/echo", { "/bin/echo", "a" }))
        assert.is_false(may("/bin/echo", { "echo", "a" }))
        assert.is_false(may("/bin/echo", { "/bin/echo2" }))
        assert.is_true(may({ "/bin/echo", "*", "b" }, { "/bin/echo", "x", "b" }))
        assert.is_false(may({ "/bin/echo", "*", "b" }, { "/bin/echo", "x", "c" }))
        assert.is_false(may({ "/bin/echo", "a" }, { "/bin/echo" }))
        assert.is_false(may({ "/bin/echo", "a" }, { "/bin/echo", "a", "b" }))
        assert.is_true(may({ "/bin/echo", "a", "..." }, { "/bin/echo", "a", "b", "c" }))
        assert.is_true(may({ "/bin/echo", "a", "..." }, { "/bin/echo", "a" }))
        assert.is_false(may("/bin/echo", { "/bin/echo" }, { LD_PRELOAD = "x" }))
        assert.is_true(may({ "/bin/echo", "...", env = { "A", "B_*" } }, { "/bin/echo" },
            { A = 1, B_C = 2 }))
        assert.is_nil((rules.exec("echo")))
    end)

    it("says of needs what is missing, in words to write", function()
        local set, needs = rules.new(), rules.new()
        local function fail(path, text) error(path .. ": " .. text) end
        rules.add(set, { net = { "*.a.example:443" }, fs = { "/x" }, env = { "A*" } }, "grant", fail)
        rules.add(needs, { net = { "b.a.example:443", "c.example:443" }, env = { "AB", "B" },
            fs = { read = { "/x/y" }, write = { "/x/y" } }, exec = { { "/bin/a", "b" } }, ffi = true },
            "needs", fail)
        assert.same({ 'net = { "c.example:443" }', 'fs = { write = { "/x/y" } }',
            'exec = { { "/bin/a", "b" } }', 'env = { "B" }', "ffi = true" }, rules.missing(set, needs))
    end)
end)
