-- SPDX-License-Identifier: MIT
--
-- error_pages: what a site says about them, and what is handed over.

local config = require("spec.support.config")

local HTML = "text/html; charset=utf-8"

describe("error_pages", function()
    local function site(parts)
        return config.minimal(parts)
    end

    it("of a site, a host and a route are handed over in the order of their keys", function()
        local built = config.build(site {
            site = 'error_pages = { ["5xx"] = { body = "b" }, [404] = { body = "a" } },',
            host = 'error_pages = { ["*"] = { body = "{}", type = "application/json" } },',
            route = 'rp.route { "/*", upstream = "api", error_pages = { ["502"] = { body = "r" } } }',
        })
        assert.same({ { "site", 0, "404", HTML, "a" }, { "site", 0, "5xx", HTML, "b" },
            { "host", 0, "*", "application/json", "{}" }, { "route", 0, "502", HTML, "r" },
        }, built:calls("page"))
    end)

    it("may be files of the site's folder, whose name tells the type", function()
        local built = config.build(site { site = [[error_pages = {
            ["401"] = { file = "pages/a.html" }, ["402"] = { file = "./b.json" },
            ["403"] = { file = "/x/c.txt" }, ["404"] = { file = "d.xml" },
            ["405"] = { file = "e.htm", type = "text/html; charset=latin1" } },]] },
            { path = "/srv/site.lua" })
        local files, types = {}, {}
        for i, call in ipairs(built:calls("page_file")) do files[i] = call[1] end
        for i, call in ipairs(built:calls("page")) do types[i] = call[4] end
        assert.same({ "/srv/pages/a.html", "/srv/b.json", "/x/c.txt", "/srv/d.xml",
            "/srv/e.htm" }, files)
        assert.same({ HTML, "application/json", "text/plain; charset=utf-8", "application/xml",
            "text/html; charset=latin1" }, types)
    end)

    it("that cannot be read are an error with the rule", function()
        local text = config.errors(site { site =
            'error_pages = { ["404"] = { file = "gone.html" } },' },
            { refuse = function(method) return method == "page_file" and "no such file" end })
        assert.matches('^site.lua:%d+: error_pages%["404"%]: %./gone.html cannot be read: '
            .. "no such file; a page is a regular file in the site's folder", text)
    end)

    for given, expected in pairs {
        ["{ [\"200\"] = { body = \"x\" } }"] = "expected a status",
        ["{ [\"3xx\"] = { body = \"x\" } }"] = "expected a status",
        ["{ { body = \"x\" } }"] = "expected a status",
        ["{ [\"404\"] = \"text\" }"] = "expected a table, got \"text\"",
        ["{ [\"404\"] = {} }"] = "expected one of body and file",
        ["{ [\"404\"] = { body = \"x\", file = \"x.html\" } }"] = "expected one of body and file",
        ["{ [\"404\"] = { bdy = \"x\" } }"] = "unknown setting",
        ["{ [\"404\"] = { body = 5 } }"] = "expected a string",
        ["{ [\"404\"] = { file = \"passwd\" } }"] = "expected a file named",
        ["{ [\"404\"] = { file = \"x.lua\" } }"] = "expected a file named",
        ["{ [\"404\"] = { file = \".html/x\" } }"] = "expected a file named",
        ["5"] = "expected a table by status",
    } do
        it("are checked: " .. given, function()
            for _, level in ipairs { "site", "host" } do
                local text = config.errors(site { [level] = "error_pages = " .. given .. "," })
                assert.truthy(text:find(expected, 1, true), text)
            end
            local text = config.errors(site { route =
                'rp.route { "/*", upstream = "api", error_pages = ' .. given .. " }" })
            assert.truthy(text:find(expected, 1, true), text)
        end)
    end
end)
