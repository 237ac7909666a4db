-- SPDX-License-Identifier: MIT
--
-- page: which error page, in which form, and what is filled in.

local c = require("spec.support.c")
local site = require("spec.support.site")

local ffi = c.ffi
local C = c.load { "proxy/page.h", "proxy/conf.h", "http/msg.h", "http/token.h", "base/buf.h" }

local JSON = "application/json"

describe("page", function()
    local keep

    before_each(function() keep = {} end)

    local function view(s)
        local v = c.str(s)
        keep[#keep + 1] = v
        return v
    end

    -- ------------------------------------------------------------ form

    local function choose(...)
        local arena, head = ffi.new("struct rp_arena"), ffi.new("struct rp_msg")
        C.rp_arena_init(arena, nil, 0, 65536)
        C.rp_msg_init(head, nil, 0, 100)
        for _, value in ipairs { ... } do
            assert(C.rp_msg_add(head, arena, C.RP_H_ACCEPT, view("Accept"), view(value)) == 0)
        end
        local form = tonumber(C.rp_page_choose(head))
        C.rp_arena_reset(arena)
        return ({ [0] = "html", "json", "text" })[form]
    end

    for _, case in ipairs {
        { "html" },
        { "html", "*/*" },
        { "html", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8" },
        { "html", "text/html, application/json" },
        { "html", "text/*" },
        { "html", "TEXT/HTML" },
        { "json", JSON },
        { "json", "application/*" },
        { "json", "application/json, text/plain, */*" },
        { "json", "text/html;q=0.5, application/json;q=0.9" },
        { "json", "*/*;q=0.1, application/json" },
        { "json", "text/html;q=0.9", "application/json" },
        { "json", "text/html;q=0, */*" },
        { "json", "application/json; charset=utf-8; q=1.0, text/html;q=0.999" },
        { "text", "text/plain" },
        { "text", "text/plain, text/html;q=0.9" },
        { "text", "text/html;q=0, text/*" },
        { "text", "image/png" },
        { "text", "text/html;q=0, application/json;q=0.0" },
        { "text", "" },
        { "text", ",,;;=" },
        { "html", "application/json;q=2, */*;q=0.1" },
    } do
        it(("is %s for Accept %q"):format(case[1], table.concat(case, " | ", 2)), function()
            assert.equal(case[1], choose(unpack(case, 2)))
        end)
    end

    -- ------------------------------------------------------------ standard pages

    local function facts(given)
        given = given or {}
        return ffi.new("struct rp_page_facts", { status = given.status or 404,
            error = view(given.error or "Not Found"), reason = view(given.reason or "no_route"),
            request_id = view(given.id or "0af1") })
    end

    local function text_of(put, ...)
        local buf = ffi.new("struct rp_buf")
        C.rp_buf_init(buf, 65536)
        put(buf, ...)
        local text = c.lua(C.rp_buf_str(buf))
        C.rp_buf_fini(buf)
        return text
    end

    it("is small in every form", function()
        local html = text_of(C.rp_page_put, C.RP_PAGE_HTML, facts())
        assert.equal("<!doctype html>\n<html><head><title>404 Not Found</title></head>\n"
            .. "<body><h1>404 Not Found</h1>\n<p>request id: 0af1</p></body></html>\n", html)
        assert.equal('{"status":404,"error":"Not Found","reason":"no_route",'
            .. '"request_id":"0af1"}\n', text_of(C.rp_page_put, C.RP_PAGE_JSON, facts()))
        assert.equal("404 Not Found\nrequest id: 0af1\n",
            text_of(C.rp_page_put, C.RP_PAGE_TEXT, facts()))
    end)

    it("escapes what it says", function()
        local evil = { error = "<b>&\"'", reason = 'a"b\\c\n', id = "</script>" }
        local json = require("cjson").decode(text_of(C.rp_page_put, C.RP_PAGE_JSON, facts(evil)))
        assert.same({ status = 404, error = evil.error, reason = evil.reason,
            request_id = evil.id }, json)
        local html = text_of(C.rp_page_put, C.RP_PAGE_HTML, facts(evil))
        assert.truthy(html:find("<h1>404 &lt;b&gt;&amp;&quot;&#39;</h1>", 1, true))
        assert.truthy(html:find("&lt;/script&gt;", 1, true))
        assert.equal("&lt;b&gt;&amp;&quot;&#39;", text_of(C.rp_page_expand, view("{error}"),
            facts(evil)))
    end)

    it("fills in what has a name, and leaves all other braces", function()
        for body, expected in pairs {
            ["{status}"] = "404",
            ["{status} {error} ({reason}) #{request_id}"] = "404 Not Found (no_route) #0af1",
            ["h1 { color: red } {status}"] = "h1 { color: red } 404",
            ["{{status}}"] = "{404}",
            ["{Status}{version}{}{ status}"] = "{Status}{version}{}{ status}",
            ["{status"] = "{status",
            ["{request_id"] = "{request_id",
            ["{request_id}"] = "0af1",
            ["{request_idx}"] = "{request_idx}",
            [""] = "",
            ["{"] = "{", ["}"] = "}", ["{}"] = "{}",
        } do
            assert.equal(expected, text_of(C.rp_page_expand, view(body), facts()) or "", body)
        end
    end)

    -- ------------------------------------------------------------ which page

    describe("of a configuration", function()
        local s

        local function add(level, index, which, kind, body)
            return c.err_name(C.rp_conf_add_page(s.conf, C["RP_LEVEL_" .. level], index, view(which),
                view(kind or "text/html"), view(body or level .. " " .. which), s.e))
        end

        local function find(route, status)
            local page = C.rp_page_find(s.conf, route, status)
            return page ~= nil and c.lua(page.body) or nil
        end

        before_each(function() s = site.new() end)
        after_each(function() s:close() end)

        it("is that of the route, then of its host, then of the site; the narrowest of each",
            function()
            local a, b = s:host { "a" }, s:host { "b" }
            local up = s:upstream("up")
            local own = s:route(a, "/own", { upstream = up })
            local plain = s:route(a, "/plain", { upstream = up })
            local other = s:route(b, "/", { upstream = up })
            for _, which in ipairs { "*", "5xx", "404" } do
                assert.equal("OK", add("SITE", 0, which))
            end
            assert.equal("OK", add("HOST", a, "4xx"))
            assert.equal("OK", add("ROUTE", own, "*"))
            assert.equal("OK", add("ROUTE", own, "503"))
            s:freeze()
            local routes = s.conf.routes
            for _, case in ipairs {
                { own, 404, "ROUTE *" }, { own, 503, "ROUTE 503" }, { own, 502, "ROUTE *" },
                { plain, 404, "HOST 4xx" }, { plain, 499, "HOST 4xx" }, { plain, 500, "SITE 5xx" },
                { other, 404, "SITE 404" }, { other, 403, "SITE *" }, { other, 599, "SITE 5xx" },
            } do
                assert.equal(case[3], find(routes[case[1]], case[2]))
            end
            assert.equal("SITE 404", find(nil, 404)) -- a head that could not be read
            assert.equal("SITE *", find(s.conf.no_host, 421))
            assert.equal("HOST 4xx", find(s.conf.hosts[a].no_route, 404))
        end)

        it("is none unless there is one", function()
            s:host({}, true)
            assert.equal("OK", add("SITE", 0, "404"))
            s:freeze()
            assert.is_nil(find(nil, 405))
        end)

        it("is refused when it can never be shown, or twice, or too large", function()
            local h = s:host({}, true)
            for _, which in ipairs { "200", "399", "600", "3xx", "xx", "5XX", "**", "", "40", "4040",
                "4x4", "-04" } do
                assert.equal("INVALID", add("SITE", 0, which), which)
            end
            assert.equal("OK", add("HOST", h, "404"))
            assert.equal("INVALID", add("HOST", h, "404"))
            assert.equal("NOT_FOUND", add("HOST", h + 1, "404"))
            assert.equal("NOT_FOUND", add("ROUTE", 0, "404"))
            assert.equal("INVALID", add("SITE", 0, "404", ""))
            assert.equal("INVALID", add("SITE", 0, "404", "a\r\nb"))
            assert.equal("OK", add("SITE", 0, "404", "a/b", ("x"):rep(65536)))
            assert.equal("TOO_BIG", add("SITE", 0, "405", "a/b", ("x"):rep(65537)))
            s:freeze()
            assert.equal("PHASE", add("SITE", 0, "406"))
        end)
    end)
end)
