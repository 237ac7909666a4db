-- SPDX-License-Identifier: MIT
--
-- Discovery without its servers: members and what differs between lists of them, pauses, the
-- settings of sites, and what DNS records become.

local config = require("spec.support.config")

package.path = "lua/?.lua;" .. package.path
local member = require("rproxy.discover.member")
local pause = require("rproxy.discover.pause")
local shape = require("rproxy.discover.shape")

describe("rproxy.discover.member", function()
    local function address(given, opt)
        local one, why = member.read(given, opt)
        return one and one.address, why
    end

    it("takes addresses in all their spellings, and gives them one", function()
        for given, wanted in pairs {
            ["10.0.0.1:80"] = "10.0.0.1:80", ["[::1]:80"] = "[::1]:80", ["[FD00::A]:1"] = "[fd00::a]:1",
            ["Api-1.example.com:65535"] = "api-1.example.com:65535", ["a_b:1"] = "a_b:1",
            ["[1:2:3:4:5:6:7:8]:80"] = "[1:2:3:4:5:6:7:8]:80",
            ["[::ffff:1.2.3.4]:80"] = "[::ffff:1.2.3.4]:80", ["[1::]:80"] = "[1::]:80",
        } do assert.equal(wanted, address(given)) end
        assert.equal("[fd00::1]:80", address { host = "fd00::1", port = 80 })
        assert.equal("[fd00::1]:80", address { host = "[fd00::1]", port = "80" })
        assert.equal("10.0.0.1:80", address { address = "10.0.0.1", port = 80 })
        assert.equal("10.0.0.1:81", address { address = "10.0.0.1:81", port = 80 })
        assert.equal("unix:/run/x", address("unix:/run/x", { unix = true }))
    end)

    it("takes nothing else", function()
        for _, given in ipairs { "", " ", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536",
            "10.0.0.1:080808", "10.0.0.1:1e3", "10.0.0.256:80", "10.0.0:80", "10.0.0.01:80", "1:2:3",
            "::1:80", "[::1]", "[:::]:80", "[1::2::3]:80", "[1:2:3:4:5:6:7]:80", "[12345::]:80",
            "[1:2:3:4:5:6:7:8:9]:80", "[fe80::1%eth0]:80", "[1.2.3.4]:80x", "[g::]:80", "a..b:80",
            ("a"):rep(254) .. ":80", "-a:80", "a b:80", "a/b:80", "a:80\tb", "http://a:80",
            "a@b:80", "unix:/run/x", "unix:run/x", "10.0.0.1:80 weight=-1", "10.0.0.1:80 weight=1.5",
            "10.0.0.1:80 weight=65536", "10.0.0.1:80 priority=15", "10.0.0.1:80 max_conns=x",
            "10.0.0.1:80 wieght=1", "10.0.0.1:80 !", "é:80" } do
            assert.is_nil(address(given), given)
        end
        for _, given in ipairs { 5, true, { host = "a" }, { port = 1 }, { host = {}, port = 1 },
            { host = "a", port = 1.5 }, { host = "a", port = 0 / 0 }, { host = "a", port = {} },
            { host = "a", port = 1, weight = {} }, { host = "a", port = 1, identity = "a b" },
            { address = "unix:/" .. ("x"):rep(108) }, { address = "unix:/a b" } } do
            assert.is_nil(address(given, { unix = true }))
        end
        assert.is_nil(address({ host = "a", port = 1, colour = "red" }, { strict = true }))
        assert.equal("a:1", address { host = "a", port = 1, colour = "red" })
    end)

    it("keeps of what is said beside the address what can be kept", function()
        assert.same({ address = "a:1", weight = 3, priority = 2, backup = true, max_conns = 7, zone = "z",
            identity = "b.test", meta = { v = "2" } },
            member.read "a:1 weight=3 priority=2 backup max_conns=7 zone=z identity=b.test meta_v=2")
        local meta = { good = "x", n = 5, yes = true, ["a b"] = "x", long = ("x"):rep(257),
            line = "a\nb", tab = "a\tb", list = {}, [5] = "x" }
        assert.same({ good = "x", n = "5", yes = "true" },
            member.read({ address = "a:1", meta = meta }).meta)
        for i = 1, 40 do meta["k" .. i] = "v" end
        local n = 0
        for _ in pairs(member.read({ address = "a:1", meta = meta }).meta) do n = n + 1 end
        assert.equal(16, n)
        assert.is_nil(member.read({ address = "a:1", zone = "a b" }).zone)
        assert.is_nil(member.read({ address = "a:1", meta = 5 }).meta)
    end)

    it("makes lists in one order, without what is wrong, twice or of no weight", function()
        local list, bad = member.list { "b:1", { host = "a", port = 1, weight = 2 }, "a:1", 7,
            "c:1 weight=0", "b:x" }
        assert.equal(2, #list)
        assert.equal("a:1", list[1].address)
        assert.equal(2, list[1].weight)
        assert.same({ "a member: a member is a text or a table, not a number", "b:x: no host:port" },
            bad)
        assert.same({ nil, "3 members; at most 2 are taken" },
            { member.list({ "a:1", "b:1", "c:1" }, { most = 2 }) })
        assert.is_nil((member.list(7)))
    end)

    it("takes only who is allowed, and no names then", function()
        local opt = { unix = true, allow = function(host) return host:find("^10%.") ~= nil end }
        assert.equal("10.0.0.1:80", address("10.0.0.1:80", opt))
        for _, given in ipairs { "11.0.0.1:80", "10.example:80", "unix:/run/10.", "[::1]:80" } do
            assert.is_nil(address(given, opt))
        end
    end)

    it("shows members without what could harm a log", function()
        assert.equal("a?b", member.show("a\nb"))
        assert.equal(80, #member.show(("x"):rep(1000)))
        assert.equal("a:5", member.show { host = "a", port = 5 })
        assert.equal("a member", member.show { host = {} })
    end)

    it("goes from one list to another in steps, where the way is long", function()
        local function many(from, to)
            local list = {}
            for i = from, to do list[#list + 1] = ("10.0.0.%d:80"):format(i) end
            return (member.list(list))
        end
        local at, goal, steps = many(1, 100), many(90, 200), 0
        repeat
            local list, last = member.step(at, goal, 25)
            local added, removed = member.diff(at, list)
            assert.is_true(#added <= 25 and #removed <= 25 or last)
            assert.is_true(#list <= 111)
            at, steps = list, steps + 1
        until last
        assert.same(goal, at)
        assert.equal(4, steps)
        assert.equal(goal, (member.step({}, goal, 25)))
        assert.same({ {}, true }, { member.step(goal, {}, 25) })
    end)

    it("says what came, went and changed", function()
        local function list(...) return (member.list { ... }) end
        local function diff(a, b)
            local added, removed, changed = member.diff(a, b)
            return table.concat({ table.concat(added, ","), table.concat(removed, ","),
                table.concat(changed, ",") }, " ")
        end
        assert.equal("c:1 a:1 ", diff(list("a:1", "b:1"), list("b:1", "c:1")))
        assert.equal("  a:1", diff(list("a:1"), list("a:1 weight=2")))
        assert.equal("  a:1", diff(list("a:1 meta_v=1"), list("a:1 meta_v=2")))
        assert.equal("  a:1", diff(list("a:1"), list("a:1 meta_v=2")))
        assert.equal("  ", diff(list("a:1 meta_v=2 zone=b"), list("a:1 zone=b meta_v=2")))
    end)
end)

describe("rproxy.discover.shape", function()
    it("takes no value for what it is not", function()
        assert.equal(0, #shape.tab("x"))
        assert.is_nil(shape.tab(nil).x)
        assert.is_nil(shape.str(""))
        assert.is_nil(shape.str(5))
        assert.equal(7, shape.num("7"))
        assert.is_nil(shape.num("7a"))
        assert.is_nil(shape.num(0 / 0))
        assert.equal(5, shape.at({ a = { { b = 5 } } }, "a.1.b"))
        assert.is_nil(shape.at({ a = 5 }, "a.b.c"))
    end)
end)

describe("rproxy.discover.pause", function()
    it("doubles up to a bound, with jitter", function()
        assert.equal(0.25, pause.after(1, nil, 0))
        assert.equal(0.5, pause.after(1, nil, 1))
        assert.equal(4, pause.after(4, nil, 1))
        assert.equal(10, pause.after(100, nil, 1))
        assert.equal(2, pause.after(1e9, 2, 1))
    end)
end)

-- ---------------------------------------------------------------- DNS records

describe("rproxy.discover.dns", function()
    -- The module with a resolver that has these records; what it publishes first, or says.
    local function ask(records, settings)
        local names = { "rproxy.socket", "rproxy.task", "rproxy.discover.client", "rproxy.discover.dns" }
        local before = {}
        for _, name in ipairs(names) do before[name] = package.loaded[name] or false end
        package.loaded["rproxy.socket"] = { resolve = function(name, kind)
            local found = records[(kind or "any") .. " " .. name]
            if found == nil then return nil, "not_found", "no such name" end
            if type(found) == "string" then return nil, "timeout", found end
            return found
        end }
        package.loaded["rproxy.task"] = { sleep = function() error("enough", 0) end }
        package.loaded["rproxy.discover.client"] = { about = function(n) return n end }
        package.loaded["rproxy.discover.dns"] = nil
        local dns = require("rproxy.discover.dns")
        for _, name in ipairs(names) do package.loaded[name] = before[name] or nil end
        local said
        local _, result, why = pcall(dns.start, settings, function(list) said = list end)
        return said, why or result
    end

    it("makes services members: ports, weights, priorities in their order", function()
        local list = ask({ ["SRV _http._tcp.a"] = { { name = "x", port = 81, priority = 10, weight = 0 },
            { name = "y", port = 82, priority = 5, weight = 7 },
            { name = "gone", port = 83, priority = 20, weight = 1 } },
            ["any x"] = { "10.0.0.1", "::1" }, ["any y"] = { "10.0.0.2" } },
            { type = "SRV", name = "_http._tcp.a", every = 5 })
        list = member.list(list)
        assert.equal(3, #list)
        assert.same({ "10.0.0.1:81", 1, 1, "x" }, { list[1].address, list[1].weight, list[1].priority,
            list[1].identity })
        assert.same({ "10.0.0.2:82", 7, 0 }, { list[2].address, list[2].weight, list[2].priority })
        assert.equal("[::1]:81", list[3].address)
    end)

    it("takes no half of an answer", function()
        local list, why = ask({ ["SRV s"] = { { name = "x", port = 81, priority = 1, weight = 1 },
            { name = "y", port = 81, priority = 1, weight = 1 } }, ["any x"] = { "10.0.0.1" },
            ["any y"] = "no server answers" }, { type = "SRV", name = "s", every = 5 })
        assert.is_nil(list)
        assert.equal("y: timeout: no server answers", why)
    end)

    it("takes a name that is not there for an answer, and silence for none", function()
        assert.same({}, (ask({}, { type = "any", name = "a", port = 80, every = 5 })))
        local list, why = ask({ ["A a"] = "late" }, { type = "A", family = "A", name = "a", port = 80 })
        assert.is_nil(list)
        assert.equal("a: timeout: late", why)
    end)
end)

-- ---------------------------------------------------------------- sites

describe("discover of rp.upstream", function()
    local function errors(text)
        local all = config.errors(config.minimal { upstreams = "api = rp.upstream { " .. text .. " }" })
        return (all:gsub("site%.lua:%d+: upstreams.api.discover", ""))
    end

    local function read(text)
        local built = config.build(config.minimal { upstreams = "api = rp.upstream { " .. text .. " }" })
        return built.model.upstream_by_name.api.discover, built
    end

    it("needs no peers, makes the upstream live, and wants the agent", function()
        local list, built = read 'discover = { "file", path = "m" }'
        assert.same({ "file", "m", "keep", 5, 0.25 }, { list[1].label, list[1].settings.path,
            list[1].common.empty, list[1].common.wait, list[1].common.settle })
        assert.equal(1, built:value("set_upstream", 0, "live"))
        assert.equal(1, built:value("number", "agent"))
        list, built = read 'peers = { "a:1" }'
        assert.is_nil(list)
        assert.is_nil(built:value("set_upstream", 0, "live"))
    end)

    it("tells several providers apart", function()
        local list = read [[discover = { { "file", path = "a" }, { "dns", name = "x" },
            { "file", path = "b" }, function() end, { { name = "mine", start = function() end } } }]]
        local labels = {}
        for i, one in ipairs(list) do labels[i] = one.label end
        assert.same({ "file", "dns", "file#2", "lua", "mine" }, labels)
    end)

    it("says what is wrong, and where", function()
        assert.equal(': expected a provider such as { "consul", service = "api" }, got "consul"',
            errors 'discover = "consul"')
        assert.equal(': expected the name of a provider (file, dns, consul, etcd, docker, kubernetes, '
            .. 'http) first, or one of your own, got "consull"; did you mean "consul"?',
            errors 'discover = { "consull", service = "x" }')
        assert.equal(".servise: unknown setting; did you mean \"service\"?\n.service: missing; expected "
            .. "a string", errors 'discover = { "consul", servise = "x" }')
        assert.equal('[2].path: missing; expected the path of a file or a folder',
            errors 'discover = { { "dns", name = "a" }, { "file" } }')
        assert.equal('.url: expected a URL without a path, such as "https://127.0.0.1:8500", got '
            .. '"http://u:p@h"', errors 'discover = { "consul", service = "x", url = "http://u:p@h" }')
        assert.equal(".port: missing: addresses have none of their own",
            errors 'discover = { "dns", name = "a", type = "A" }')
        assert.equal(".port: SRV records have their own; leave it out, or say type",
            errors 'discover = { "dns", name = "a", type = "SRV", port = 5 }')
        assert.equal(".token: there is token_file, too",
            errors 'discover = { "consul", service = "x", token = "a", token_file = "b" }')
        assert.equal(".user: it goes together with password, or password_file",
            errors 'discover = { "etcd", prefix = "/", user = "a" }')
        assert.equal('.empty: expected one of "keep", "take", got "drop"',
            errors 'discover = { "file", path = "x", empty = "drop" }')
        assert.equal(".max: at most 10000, got 10001",
            errors 'discover = { "file", path = "x", max = 10001 }')
        assert.equal(': one provider, got also "x"; write a list of tables for several',
            errors 'discover = { "file", "x" }')
        assert.truthy(errors('discover = { "kubernetes", service = "x" }'):find(
            "url: missing, and this does not run in a cluster", 1, true))
        assert.truthy(errors('discover = {}'):find("expected the name of a provider", 1, true))
        assert.equal('.key: missing; expected a string', errors [[discover = { { start = function() end,
            schema = { key = { "string", required = true } } } }]])
    end)

    it("shows no secrets", function()
        local describe = require("rproxy.config.describe")
        local _, built = read [[discover = { { "consul", service = "x", token = "geheim" },
            { "http", url = "http://a/b?k=geheim", headers = { authorization = "geheim" } },
            { "etcd", prefix = "/", user = "u", password = "geheim" } }]]
        assert.is_nil(describe.text(built.model):find("geheim", 1, true))
        assert.truthy(describe.text(built.model):find("discover http http://a/b, empty: keep", 1, true))
    end)
end)
