-- SPDX-License-Identifier: MIT
local c = require("spec.support.c")
local site = require("spec.support.site")
local ffi = c.ffi

local C = c.load { "proxy/access.h" }

local function err(code) return c.err_name(code) end
local function u32() return ffi.new("uint32_t[1]") end

describe("a new configuration", function()
    it("has the defaults of conf.tbl", function()
        local conf = site.new().conf
        assert.equal(32768, tonumber(conf.head_bytes))
        assert.equal(8192, tonumber(conf.uri_bytes))
        assert.equal(100, tonumber(conf.fields_n))
        assert.equal(8 * 1024 * 1024, tonumber(conf.body_limit))
        assert.equal(75000, tonumber(conf.keepalive_ms))
        assert.equal(15, tonumber(conf.forward))
        assert.equal(50000, tonumber(conf.cpu_budget_us))
        assert.equal(256 * 1024 * 1024, tonumber(conf.heap_bytes))
        assert.equal("rproxy", c.lua(conf.server_name))
        assert.equal("rproxy", c.lua(conf.via_name))
        assert.equal("", c.lua(conf.user))
        assert.is_false(conf.access.on)
    end)

    it("can be frozen as it is, and answers 421", function()
        local s = site.new():freeze()
        assert.is_true(s.conf.frozen)
        assert.equal(421, s.conf.no_host.status)
        assert.equal(1, s.conf.files_n)
        assert.equal("stderr", c.lua(s.conf.files[s.conf.error_log_file]))
        assert.is_true(s.conf.draft == nil)
    end)
end)

describe("a scalar", function()
    local function set(key, value)
        local s = site.new()
        return err(C.rp_conf_set_number(s.conf, c.str(key), value)), s.conf
    end

    it("is set by its key", function()
        local e, conf = set("limits.head_bytes", 65536)
        assert.equal("OK", e)
        assert.equal(65536, tonumber(conf.head_bytes))
        assert.equal("NOT_FOUND", (set("limits.head", 1)))
        assert.equal("NOT_FOUND", (set("", 1)))
    end)

    it("is a whole number within its range", function()
        assert.equal("INVALID", (set("limits.head_bytes", 65536.5)))
        assert.equal("INVALID", (set("limits.head_bytes", 10)))
        assert.equal("INVALID", (set("limits.head_bytes", -1)))
        assert.equal("INVALID", (set("limits.head_bytes", 0 / 0)))
        assert.equal("INVALID", (set("limits.fields_n", 70000)))
        assert.equal("INVALID", (set("timeouts.head_ms", 0)))
        assert.equal("OK", (set("timeouts.drain_ms", 0)))
        assert.equal("INVALID", (set("via.on", 2)))
    end)

    it("may be infinite where that means no limit", function()
        local e, conf = set("limits.body_bytes", math.huge)
        assert.equal("OK", e)
        assert.equal("18446744073709551615ULL", tostring(conf.body_limit))
        assert.equal("INVALID", (set("limits.head_bytes", math.huge)))
        assert.equal("INVALID", (set("limits.body_bytes", -math.huge)))
    end)

    it("of text is checked for what may stand in a header", function()
        local s = site.new()
        local function text(key, value)
            return err(C.rp_conf_set_text(s.conf, c.str(key), c.str(value)))
        end
        assert.equal("OK", text("server.name", ""))
        assert.equal("OK", text("server.name", "me/1.0 (test)"))
        assert.equal("me/1.0 (test)", c.lua(s.conf.server_name))
        assert.equal("INVALID", text("server.name", "a\r\nb: c"))
        assert.equal("INVALID", text("via.name", "a b"))
        assert.equal("INVALID", text("via.name", ""))
        assert.equal("OK", text("user", "www"))
        assert.equal("NOT_FOUND", text("users", "www"))
        s:freeze()
        assert.equal(1, tonumber(s.conf.user_set))
        assert.equal("PHASE", text("user", "root"))
    end)
end)

describe("listeners", function()
    it("keep their text and their address", function()
        local s, index = site.new(), u32()
        for i, text in ipairs { "0.0.0.0:80", "[::]:80", "unix:/run/x" } do
            assert.equal("OK", err(C.rp_conf_add_listener(s.conf, c.str(text), i == 1, index, s.e)))
            assert.equal(i - 1, index[0])
            assert.equal(text, c.lua(s.conf.listeners[index[0]].text))
        end
        assert.equal(80, s.conf.listeners[0].addr.port)
        assert.is_true(s.conf.listeners[0].redirect_https)
        assert.is_false(s.conf.listeners[1].redirect_https)
    end)

    it("are refused when they are no address or the same one twice", function()
        local s, index = site.new(), u32()
        local function add(text)
            return err(C.rp_conf_add_listener(s.conf, c.str(text), false, index, s.e))
        end
        assert.equal("INVALID", add("localhost:80"))
        assert.truthy(ffi.string(s.e.text):find("localhost:80", 1, true))
        assert.equal("OK", add("127.0.0.1:80"))
        assert.equal("INVALID", add("127.0.0.1:80"))
        assert.equal("OK", add("*:81"))
        assert.equal("INVALID", add("0.0.0.0:81"))
    end)

    it("for datagrams are apart from others, and a stream's only", function()
        local s, index = site.new(), u32()
        local up = s:upstream("up", { "127.0.0.1:1" })
        assert.equal("OK", err(C.rp_conf_add_stream(s.conf, index)))
        local stream = index[0]
        local function add(text)
            return err(C.rp_conf_add_stream_listener(s.conf, stream, c.str(text), index, s.e))
        end
        assert.equal("OK", err(C.rp_conf_set_stream(s.conf, stream, c.str("upstream"), up)))
        assert.equal("OK", add("127.0.0.1:53"))
        assert.equal("OK", add("udp:127.0.0.1:53"))
        assert.is_true(s.conf.listeners[1].udp)
        assert.equal(53, s.conf.listeners[1].addr.port)
        assert.equal("udp:127.0.0.1:53", c.lua(s.conf.listeners[1].text))
        assert.equal("INVALID", add("udp:127.0.0.1:53"))
        assert.equal("INVALID", add("udp:unix:/run/x"))
        assert.equal("INVALID", add("udp:"))
        assert.equal("OK", err(C.rp_conf_add_listener(s.conf, c.str("udp:*:80"), false, index, s.e)))
        assert.equal('"udp:*:80": only a stream takes datagrams', s:freeze_error())
    end)
end)

describe("trusted networks", function()
    it("become one set", function()
        local s, a = site.new(), ffi.new("struct rp_addr")
        for _, net in ipairs { "10.0.0.0/8", "fd00::/8", "192.0.2.1" } do
            assert.equal("OK", err(C.rp_conf_add_trust(s.conf, c.str(net), s.e)))
        end
        assert.equal("INVALID", err(C.rp_conf_add_trust(s.conf, c.str("10.0.0.0/33"), s.e)))
        s:freeze()
        for text, expected in pairs { ["10.9.9.9"] = true, ["fd12::1"] = true,
            ["192.0.2.1"] = true, ["192.0.2.2"] = false } do
            assert.equal("OK", err(C.rp_addr_parse_ip(c.str(text), a)))
            assert.equal(expected, C.rp_cidr_set_has(s.conf.trust, a), text)
        end
    end)

    it("may be none", function()
        assert.is_true(site.new():freeze().conf.trust == nil)
    end)
end)

describe("log files", function()
    it("of the same path have the same index", function()
        local s, index = site.new(), u32()
        for _, case in ipairs { { "/a", 0 }, { "stdout", 1 }, { "/a", 0 }, { "/b", 2 } } do
            assert.equal("OK", err(C.rp_conf_add_file(s.conf, c.str(case[1]), index)))
            assert.equal(case[2], index[0])
        end
        assert.equal("INVALID", err(C.rp_conf_add_file(s.conf, c.str("/a\0b"), index)))
        s:number("log.error_file", 2)
        s:freeze()
        assert.equal(3, s.conf.files_n)
    end)

    it("must exist when the error log names one", function()
        local s = site.new()
        s:number("log.error_file", 3)
        assert.truthy(s:freeze_error():find("log.error_file", 1, true))
    end)
end)

describe("upstreams", function()
    local s, up

    before_each(function()
        s = site.new()
        up = s:upstream("api", {})
    end)

    local function peer(text, weight)
        return err(C.rp_conf_add_peer(s.conf, up, c.str(text), weight or 1, false, s.e))
    end
    local function last()
        local u = s.conf.upstreams[up]
        return u.peers[u.peers_n - 1]
    end

    it("have the defaults of conf.tbl", function()
        local u = s.conf.upstreams[up]
        assert.same({ 3, 256, 0, 1 }, { u.tries, u.pool_max, u.max_requests, u.max_fails })
        assert.equal(5000, tonumber(u.connect_ms))
        assert.equal(10000, tonumber(u.fail_rest_ms))
    end)

    it("are set by key", function()
        local function set(key, value)
            return err(C.rp_conf_set_upstream(s.conf, up, c.str(key), value))
        end
        assert.equal("OK", set("tries", 5))
        assert.equal("OK", set("idle_ms", 1))
        assert.equal(5, s.conf.upstreams[up].tries)
        assert.equal(1, tonumber(s.conf.upstreams[up].idle_ms))
        assert.equal("INVALID", set("tries", 0))
        assert.equal("NOT_FOUND", set("retries", 1))
        assert.equal("NOT_FOUND", err(C.rp_conf_set_upstream(s.conf, 7, c.str("tries"), 1)))
        assert.equal("OK", err(C.rp_conf_set_upstream_text(s.conf, up, c.str("host_header"),
            c.str("api.internal"))))
        assert.equal("api.internal", c.lua(s.conf.upstreams[up].host_header))
    end)

    it("keep numbers of peers that are addresses", function()
        assert.equal("OK", peer("10.0.0.1:8080"))
        assert.equal("10.0.0.1:8080", c.lua(last().name))
        assert.equal(C.RP_ADDR_IP4, last().addr.family)
        assert.equal(8080, last().addr.port)
        assert.is_true(last().host.ptr == nil)
        assert.equal("OK", peer("[fd00::1]:81"))
        assert.equal(C.RP_ADDR_IP6, last().addr.family)
        assert.equal("OK", peer("unix:/run/x.sock"))
        assert.equal(C.RP_ADDR_UNIX, last().addr.family)
    end)

    it("keep names of peers that must be looked up", function()
        assert.equal("OK", peer("api-1.internal:8080", 7))
        assert.equal("api-1.internal", c.lua(last().host))
        assert.equal(C.RP_ADDR_NONE, last().addr.family)
        assert.equal(8080, last().addr.port)
        assert.equal(7, last().weight)
        assert.equal("OK", peer("localhost:1"))
    end)

    it("refuse what is neither", function()
        for _, text in ipairs { "", "api", "api:", "api:0", "api:65536", ":80", "*:80", "a b:80",
            "10.0.0.256:80", "1.2.3:80", "http://x:80", "-:x", ".a:1", "a..b:1", "10.0.0.1:0",
            "[fd00::1]", ("a"):rep(64) .. ":1" } do
            assert.equal("INVALID", peer(text), text)
        end
        assert.equal("INVALID", peer("a:1", 0))
        assert.equal("INVALID", peer("a:1", 65536))
        assert.equal("OK", peer("a:1"))
        assert.equal("INVALID", peer("a:1"))
    end)

    it("have names of their own, and peers", function()
        assert.truthy(s:freeze_error():find('"api" has no peers', 1, true))
        local ok, why = pcall(s.upstream, s, "api")
        assert.is_false(ok)
        assert.truthy(why:find("already", 1, true))
    end)

    it("balanced by a hook need the hook and no peers", function()
        assert.equal("OK", err(C.rp_conf_set_upstream(s.conf, up, c.str("balance"),
            C.RP_BALANCE_HOOK)))
        assert.truthy(s:freeze_error():find("balance hook", 1, true))
        assert.equal("OK", err(C.rp_conf_set_upstream(s.conf, up, c.str("balance_chain"), 9)))
        assert.is_nil(s:freeze_error())
    end)

    -- What is not special is proxied by a way that asks for none of this.
    it("are special when a choice, a new connection or an answer takes more than usual", function()
        local function is_special(key, value, text)
            local site_of = site.new()
            local u = site_of:upstream("one", { "127.0.0.1:80" })
            local set = text and C.rp_conf_set_upstream_text or C.rp_conf_set_upstream
            if key then
                assert.equal("OK", err(set(site_of.conf, u, c.str(key), text or value)))
            end
            return site_of:freeze().conf.upstreams[u].special
        end
        assert.is_false(is_special())
        assert.is_false(is_special("tries", 3))
        for _, key in ipairs { "hedge_max", "proxy_protocol", "measure" } do
            assert.is_true(is_special(key, 1), key)
        end
        for _, key in ipairs { "sticky_cookie", "sticky_header", "subsets", "deadline_header" } do
            assert.is_true(is_special(key, nil, c.str("X-Word")), key)
        end
    end)
end)

describe("hosts", function()
    local function name(s, host, text)
        return err(C.rp_conf_add_host_name(s.conf, host, c.str(text), s.e))
    end

    it("refuse what is no host name, and the same one twice", function()
        local s = site.new()
        local h = s:host { "example.com" }
        for _, text in ipairs { "", "*", "a b", "a:80", "http://a", "*.", "*.*.a", "a.*.b", "a..b",
            "*.[::1]", "[::1]:80", "a/b", ("a"):rep(256) } do
            assert.equal("INVALID", name(s, h, text), text)
        end
        assert.equal("INVALID", name(s, h, "EXAMPLE.com."))
        assert.truthy(ffi.string(s.e.text):find("already", 1, true))
        assert.equal("OK", name(s, h, "*.example.com"))
        assert.equal("INVALID", name(s, h, "*.Example.com"))
    end)

    it("need a name unless they are the default, of which there is one", function()
        local s = site.new()
        s:host({}, true)
        assert.equal("INVALID", err(C.rp_conf_add_host(s.conf, true, u32())))
        s:host {}
        assert.truthy(s:freeze_error():find("no name", 1, true))
    end)

    it("have an answer for paths without a route", function()
        local s, index = site.new(), u32()
        local a, b = s:host { "a" }, s:host { "b" }
        assert.equal("OK", err(C.rp_conf_add_route(s.conf, a, c.str(""), c.str(""), true, index,
            s.e)))
        assert.equal("OK", err(C.rp_conf_set_route(s.conf, index[0], c.str("action"),
            C.RP_ACTION_RESPOND)))
        assert.equal("OK", err(C.rp_conf_set_route(s.conf, index[0], c.str("status"), 410)))
        assert.equal("INVALID", err(C.rp_conf_add_route(s.conf, a, c.str(""), c.str(""), true,
            index, s.e)))
        s:freeze()
        assert.equal(410, s.conf.hosts[a].no_route.status)
        assert.equal(404, s.conf.hosts[b].no_route.status)
        assert.equal("b (fallback)", c.lua(s.conf.hosts[b].no_route.id))
    end)
end)

describe("routes", function()
    local s, h

    before_each(function()
        s = site.new()
        h = s:host { "www.example.com" }
    end)

    local function add(methods, pattern)
        local index = u32()
        local e = C.rp_conf_add_route(s.conf, h, c.str(methods), c.str(pattern), false, index, s.e)
        return err(e), index[0]
    end
    local function set(route, key, value)
        return err(C.rp_conf_set_route(s.conf, route, c.str(key), value))
    end
    local function set_text(route, key, value)
        return err(C.rp_conf_set_route_text(s.conf, route, c.str(key), c.str(value)))
    end

    it("are named by host, methods and pattern", function()
        local _, r = add("POST, GET,BREW", "/a/{b}")
        set(r, "action", C.RP_ACTION_RESPOND)
        s:freeze()
        assert.equal("www.example.com GET,POST,BREW /a/{b}", c.lua(s.conf.routes[r].id))
        assert.equal("/a/{b}", c.lua(s.conf.routes[r].pattern))
        assert.equal("b", c.lua(s.conf.routes[r].param_names[0]))
    end)

    it("refuse methods that are none", function()
        assert.equal("INVALID", (add("get", "/a")))
        assert.truthy(ffi.string(s.e.text):find("capitals", 1, true))
        assert.equal("INVALID", (add("GE T", "/a")))
        assert.equal("NOT_FOUND", err(C.rp_conf_add_route(s.conf, 9, c.str(""), c.str("/"), false,
            u32(), s.e)))
    end)

    it("that are refused leave nothing behind", function()
        for n = 1, 9 do
            assert.equal("INVALID", (add("", "/a/{b")))
            assert.equal("INVALID", (add("GET,get", "/a")))
            local e, r = add("", "/a" .. n)
            assert.equal("OK", e)
            assert.equal(n - 1, r)
            set(r, "action", C.RP_ACTION_RESPOND)
        end
        s:freeze()
        assert.equal("www.example.com /a7", s:find({ host = "www.example.com", path = "/a7" }).id)
    end)

    it("take the site's body limit unless they have their own", function()
        local _, own = add("", "/own")
        local _, none = add("", "/none")
        local _, unset = add("", "/unset")
        for _, r in ipairs { own, none, unset } do set(r, "action", C.RP_ACTION_RESPOND) end
        assert.equal("OK", set(own, "body_limit", 0))
        assert.equal("OK", set(none, "body_limit", math.huge))
        s:number("limits.body_bytes", 1000)
        s:freeze()
        assert.equal(0, tonumber(s.conf.routes[own].body_limit))
        assert.equal("18446744073709551615ULL", tostring(s.conf.routes[none].body_limit))
        assert.equal(1000, tonumber(s.conf.routes[unset].body_limit))
    end)

    it("are upgradable and logged unless told otherwise", function()
        local _, r = add("", "/a")
        assert.is_true(s.conf.routes[r].upgrade)
        assert.is_true(s.conf.routes[r].access_log)
        assert.equal("OK", set(r, "upgrade", 0))
        assert.equal("OK", set(r, "meta", 12))
        assert.is_false(s.conf.routes[r].upgrade)
        assert.equal(12, s.conf.routes[r].meta)
        assert.equal("INVALID", set(r, "upgrade", 2))
        assert.equal("NOT_FOUND", set(r, "colour", 2))
        assert.equal("NOT_FOUND", set(99, "meta", 2))
    end)

    it("keep a chain per phase", function()
        local _, r = add("", "/a")
        local function chain(phase, ref)
            return err(C.rp_conf_set_route_chain(s.conf, r, phase, ref))
        end
        assert.equal("OK", chain(C.RP_PHASE_LOG, 5))
        assert.equal(5, s.conf.routes[r].chains.at[C.RP_PHASE_LOG])
        assert.equal("INVALID", chain(C.RP_PHASE_COUNT, 1))
        assert.equal("OK", err(C.rp_conf_set_site_chain(s.conf, C.RP_PHASE_EARLY, 6)))
        assert.equal(6, s.conf.site_chains.at[C.RP_PHASE_EARLY])
        assert.equal("header_filter", ffi.string(C.rp_phase_name(C.RP_PHASE_HEADER_FILTER)))
    end)

    it("must do something", function()
        local _, r = add("", "/a")
        assert.truthy(s:freeze_error():find('"www.example.com /a": it has no upstream', 1, true))
        assert.equal(r, tonumber(s.e.route))
        assert.equal("NOT_FOUND", set(r, "upstream", 0))
        local up = s:upstream("api")
        assert.equal("OK", set(r, "upstream", up))
        assert.is_nil(s:freeze_error())
        assert.equal("api", c.lua(s.conf.routes[r].upstream.name))
    end)

    it("with content need a content hook", function()
        local _, r = add("", "/a")
        assert.equal("OK", set(r, "action", C.RP_ACTION_CONTENT))
        assert.truthy(s:freeze_error():find("content hook", 1, true))
        assert.equal("OK", err(C.rp_conf_set_route_chain(s.conf, r, C.RP_PHASE_CONTENT, 1)))
        assert.is_nil(s:freeze_error())
    end)

    it("that redirect need a location whose { } are known", function()
        local _, r = add("", "/a/{id}")
        assert.equal("OK", set(r, "action", C.RP_ACTION_REDIRECT))
        assert.truthy(s:freeze_error():find("needs a location", 1, true))
        for _, bad in ipairs { "https://x/{no}", "https://x/{id", "https://{}/" } do
            assert.equal("OK", set_text(r, "location", bad))
            assert.truthy(s:freeze_error():find("{ }", 1, true), bad)
        end
        assert.equal("INVALID", set_text(r, "location", "https://x/\r\n"))
        assert.equal("OK", set_text(r, "location", "https://{host}/{id}{uri}{query}{path}"))
        assert.equal("OK", set(r, "status", 200))
        assert.truthy(s:freeze_error():find("300 to 399", 1, true))
        assert.equal("OK", set(r, "status", 308))
        assert.is_nil(s:freeze_error())
    end)

    it("get a status by their action", function()
        local _, a = add("", "/a")
        local _, b = add("", "/b")
        set(a, "action", C.RP_ACTION_RESPOND)
        set(b, "action", C.RP_ACTION_REDIRECT)
        set_text(b, "location", "/")
        assert.equal("INVALID", set(a, "status", 99))
        s:freeze()
        assert.equal(200, s.conf.routes[a].status)
        assert.equal(302, s.conf.routes[b].status)
    end)

    it("take header edits, but none that frame the message", function()
        local _, r = add("", "/a")
        local function edit(name, value, kind)
            return err(C.rp_conf_add_edit(s.conf, r, kind or C.RP_EDIT_SET, true, c.str(name),
                c.str(value), s.e))
        end
        assert.equal("OK", edit("X-Frame-Options", "DENY"))
        assert.equal("OK", edit("Server", "", C.RP_EDIT_DEL))
        assert.equal(2, s.conf.routes[r].edits_n)
        assert.equal("DENY", c.lua(s.conf.routes[r].edits[0].value))
        assert.equal(0, s.conf.routes[r].edits[0].id)
        assert.equal(C.RP_H_SERVER, s.conf.routes[r].edits[1].id)
        assert.equal("INVALID", edit("a b", "x"))
        assert.equal("INVALID", edit("a", "x\r\ny: z"))
        assert.equal("INVALID", edit("Content-Length", "1"))
        assert.equal("INVALID", edit("transfer-encoding", "chunked"))
        assert.equal("INVALID", edit("a", "b", 9))
    end)

    it("refuse conditions that make no sense", function()
        local _, r = add("", "/a")
        local function cond(kind, op, name, value)
            return err(C.rp_conf_add_cond(s.conf, r, C[kind], C[op], false, c.str(name),
                c.str(value), s.e))
        end
        assert.equal("INVALID", cond("RP_COND_HEADER", "RP_COND_EXISTS", "a b", ""))
        assert.equal("INVALID", cond("RP_COND_QUERY", "RP_COND_EXISTS", "", ""))
        assert.equal("INVALID", cond("RP_COND_HEADER", "RP_COND_REGEX", "a", "("))
        assert.equal("INVALID", cond("RP_COND_HEADER", "RP_COND_IN", "a", "10.0.0.0/8"))
        assert.equal("INVALID", cond("RP_COND_SOURCE", "RP_COND_EQUALS", "", "10.0.0.0/8"))
        assert.equal("INVALID", cond("RP_COND_SOURCE", "RP_COND_IN", "", "10.0.0.0/8,x"))
        assert.equal("INVALID", cond("RP_COND_SOURCE", "RP_COND_IN", "", ""))
        assert.equal(0, s.conf.routes[r].conds_n)
    end)
end)

describe("the access log", function()
    it("is on with a file, and checks its fields", function()
        local s, file = site.new(), u32()
        local function turn_on(n, format)
            return err(C.rp_conf_set_access_log(s.conf, n, format, 4096, 100))
        end
        assert.equal("NOT_FOUND", turn_on(0, C.RP_ACCESS_JSON))
        assert.equal("OK", err(C.rp_conf_add_file(s.conf, c.str("/x"), file)))
        assert.equal("INVALID", turn_on(0, 9))
        assert.equal("OK", turn_on(0, C.RP_ACCESS_JSON))
        local function field(name)
            return err(C.rp_conf_add_access_field(s.conf, c.str(name), s.e))
        end
        for _, name in ipairs { "time", "status", "ctx.tenant", "request.x-a", "response.etag" } do
            assert.equal("OK", field(name), name)
            assert.is_true(C.rp_access_is_field(c.str(name)))
        end
        for _, name in ipairs { "", "stat", "statuses", "ctx.", "request.", "request.a b" } do
            assert.equal("INVALID", field(name), name)
            assert.is_false(C.rp_access_is_field(c.str(name)))
        end
        s:freeze()
        assert.is_true(s.conf.access.on)
        assert.equal(5, s.conf.access.fields_n)
        assert.equal("ctx.tenant", c.lua(s.conf.access.fields[2]))
    end)

    it("in JSON has default fields", function()
        local s = site.new()
        assert.equal("OK", err(C.rp_conf_add_file(s.conf, c.str("stdout"), u32())))
        assert.equal("OK", err(C.rp_conf_set_access_log(s.conf, 0, C.RP_ACCESS_JSON, 0, 0)))
        s:freeze()
        assert.is_true(s.conf.access.fields_n >= 10)
    end)
end)

describe("a frozen configuration", function()
    it("takes no more calls", function()
        local s = site.new()
        local up, h = s:upstream("a"), s:host { "a" }
        local r = s:route(h, "/a")
        s:freeze()
        local conf, e, n, x = s.conf, s.e, u32(), c.str("x")
        for name, code in pairs {
            number = C.rp_conf_set_number(conf, c.str("workers"), 1),
            listener = C.rp_conf_add_listener(conf, c.str("1.1.1.1:1"), false, n, e),
            trust = C.rp_conf_add_trust(conf, c.str("::1"), e),
            file = C.rp_conf_add_file(conf, x, n),
            plugin = C.rp_conf_add_plugin(conf, x, 0, n),
            upstream = C.rp_conf_add_upstream(conf, x, n, e),
            set_upstream = C.rp_conf_set_upstream(conf, up, c.str("tries"), 1),
            peer = C.rp_conf_add_peer(conf, up, c.str("a:1"), 1, false, e),
            host = C.rp_conf_add_host(conf, false, n),
            host_name = C.rp_conf_add_host_name(conf, h, c.str("b"), e),
            route = C.rp_conf_add_route(conf, h, x, c.str("/"), false, n, e),
            set_route = C.rp_conf_set_route(conf, r, c.str("meta"), 1),
            chain = C.rp_conf_set_route_chain(conf, r, 0, 1),
            site_chain = C.rp_conf_set_site_chain(conf, 0, 1),
            edit = C.rp_conf_add_edit(conf, r, 0, false, x, x, e),
            cond = C.rp_conf_add_cond(conf, r, 0, 0, false, x, x, e),
            log = C.rp_conf_set_access_log(conf, 0, 0, 0, 0),
            field = C.rp_conf_add_access_field(conf, c.str("time"), e),
            freeze = C.rp_conf_freeze(conf, e),
        } do
            assert.equal("PHASE", err(code), name)
        end
    end)

    it("lives until the last hold is dropped, and tells its script then", function()
        local s = site.new():freeze()
        local conf, dropped = s.conf, 0
        ffi.gc(s.box, nil)
        local hooks = ffi.new("struct rp_hooks")
        local drop = ffi.cast("void (*)(struct rp_conf *)", function(which)
            assert(which == conf)
            dropped = dropped + 1
        end)
        hooks.drop_generation = drop
        conf.hooks = hooks
        assert.equal(conf, C.rp_conf_hold(conf))
        C.rp_conf_hold(conf)
        C.rp_conf_drop(conf)
        assert.equal(0, dropped)
        C.rp_conf_drop(conf)
        assert.equal(1, dropped)
        drop:free()
    end)

    it("keeps its own copies of what it was given", function()
        local s = site.new()
        local name = ffi.new("char[8]", "short.x")
        local index = u32()
        assert.equal("OK", err(C.rp_conf_add_plugin(s.conf, ffi.new("rp_str", name, 7), 1, index)))
        ffi.fill(name, 8, 65)
        assert.equal("short.x", c.lua(s.conf.plugins[index[0]].name))
        assert.equal("INVALID", err(C.rp_conf_add_plugin(s.conf, c.str("x"), 3, index)))
    end)

    it("tells instances of one name apart, and knows shadows", function()
        local s = site.new()
        local index = u32()
        for i, label in ipairs { "a", "a#2", "a#3" } do
            assert.equal("OK", err(C.rp_conf_add_plugin(s.conf, c.str("a"), 0, index)))
            local p = s.conf.plugins[index[0]]
            assert.same({ i, label, false }, { tonumber(p.number), c.lua(p.label), p.shadow })
        end
        local function set(at, key, value) return err(C.rp_conf_set_plugin(s.conf, at, c.str(key), value)) end
        assert.equal("OK", set(1, "shadow", 1))
        assert.is_true(s.conf.plugins[1].shadow)
        assert.is_false(s.conf.plugins[2].shadow)
        assert.equal("INVALID", set(1, "shade", 1))
        assert.equal("INVALID", set(3, "shadow", 1))
    end)

    it("holds thousands of routes, hosts and upstreams", function()
        local s = site.new()
        for i = 1, 300 do
            local up = s:upstream("u" .. i)
            local h = s:host { "h" .. i .. ".example" }
            for j = 1, 10 do
                s:route(h, "/r" .. j .. "/*", { upstream = up, id = i .. ":" .. j })
            end
        end
        s:freeze()
        assert.equal("299:7", s:find({ host = "h299.example", path = "/r7/x" }).id)
        assert.equal(3000 + 300 + 1, s.conf.routes_n)
    end)
end)
