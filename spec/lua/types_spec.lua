-- SPDX-License-Identifier: MIT
--
-- types/rproxy.lua has a type for everything that hooks may call, and docs/guide/tools.md says what
-- lint finds.

local posix = require("spec.support.posix")
local call_types = require("tools.types")

local read = posix.read_file
local TEXT = call_types.calls()

-- Is it defined: a function, a field of a class, or a place below rp?
local function has(owner, name)
    for line in TEXT:gmatch("[^\n]+") do
        if line:find(("^function %s[.:]%s%%("):format(owner:gsub("%.", "%%."), name))
            or line:find(("^%s%%.%s = "):format(owner:gsub("%.", "%%."), name)) then
            return true
        end
        for place in line:gmatch("rp%.[%w_.]+") do
            if place == owner .. "." .. name and line:find("=", 1, true) then return true end
        end
    end
    return false
end

local function class_fields(class)
    local fields, inside = {}, false
    for line in TEXT:gmatch("[^\n]+") do
        local begun = line:match("^%-%-%-@class (%S+)")
        if begun then inside = begun == class end
        local field = inside and line:match("^%-%-%-@field (%S+)")
        if field then fields[field:gsub("%?$", "")] = true end
    end
    return fields
end

local function names(path, list)
    local found, source = {}, read(path)
    for name in source:gmatch("\nfunction " .. list .. "[.:]([%w_]+)") do
        found[#found + 1] = name
    end
    return found
end

describe("types of the editor", function()
    for object, of in pairs { req = { "lua/rproxy/request.lua", "rproxy.Request" },
        up = { "lua/rproxy/up.lua", "rproxy.Up" }, res = { "lua/rproxy/response.lua",
            "rproxy.Result" } } do
        it("have every method and field of " .. object, function()
            local methods = names(of[1], "methods")
            assert.is_true(#methods > 5)
            for _, name in ipairs(methods) do
                assert.is_true(has(object, name), object .. ":" .. name)
            end
            local fields = class_fields(of[2])
            for _, list in ipairs { "get", "set" } do
                for _, name in ipairs(names(of[1], list)) do
                    assert.is_true(fields[name] == true, object .. "." .. name)
                end
            end
        end)
    end

    it("have every member of rp and of its libraries", function()
        local above = { site = true, listen = true, upstream = true, host = true, route = true,
            stream = true, split = true }
        local source = read("lua/rproxy/init.lua")
        local body = assert(source:match("\nlocal rp = {\n(.-)\n}\n"))
        body = body:gsub("%-%-[^\n]*", ""):gsub("= {[^}]*}", "= table")
        local n = 0
        for name in body:gmatch("([%w_]+) =") do
            n = n + 1
            assert.is_true(above[name] or has("rp", name), "rp." .. name)
        end
        assert.is_true(n > 40)
        for library, path in pairs { crypto = "crypto", json = "json", jwt = "jwt", jwe = "jwe",
            date = "date", uuid = "uuid", fs = "fs", log = "log" } do
            for _, name in ipairs(names("lua/rproxy/" .. path .. ".lua", "M")) do
                assert.is_true(has("rp." .. library, name), ("rp.%s.%s"):format(library, name))
            end
        end
    end)

    it("have every hook, and do not let the result of an answer be dropped", function()
        local hooks = class_fields("rproxy.Hooks")
        local list = assert(read("lua/rproxy/plugin.lua"):match("M%.HOOKS = {(.-)}"))
        for name in list:gmatch('"([%w_]+)"') do assert.is_true(hooks[name] == true, name) end
        for _, call in ipairs { "req:exit", "req:redirect", "res:replace" } do
            assert.is_truthy(TEXT:find("---@nodiscard\nfunction " .. call .. "(", 1, true), call)
        end
    end)

    it("are Lua that runs", function()
        assert(loadstring("local rp = {}\n" .. TEXT))()
    end)
end)

describe("tools", function()
    it("have a module and a place in the guide each", function()
        local pages, n = "", 0
        for _, page in ipairs { "tools", "operations", "balancing", "plugins", "trust", "testing" } do
            pages = pages .. (read("docs/guide/" .. page .. ".md") or "")
        end
        local rows = assert(read("runtime/process/tool.c"):match("} TOOLS%[%] = {\n(.-)\n};"))
        for name in rows:gmatch("{%u+, \"(%l+)\", \"") do
            n = n + 1
            assert.is_truthy(read("lua/rproxy/cli/" .. name .. ".lua"), name .. " has no module")
            assert.is_truthy(pages:find("rproxy " .. name, 1, true), name .. " is in no guide")
        end
        assert.is_true(n >= 11)
    end)
end)

describe("docs/guide/tools.md", function()
    it("has the codes of lint with their levels, and no others", function()
        local written, known = {}, {}
        for code, level in read("docs/guide/tools.md"):gmatch("\n| `([%l-]+)` | (%l+) |") do
            written[#written + 1] = code .. " " .. level
        end
        for i, row in ipairs(require("rproxy.cli.lint_codes").CODES) do
            known[i] = row[1] .. " " .. row[2]
        end
        assert.same(known, written)
    end)
end)
