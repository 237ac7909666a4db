-- SPDX-License-Identifier: MIT
--
-- Untrusted code in a VM that the spec looks into: it is in no trace, and its instructions and bytes
-- are counted to the last.

local support = require("spec.unit.script.support")

local ffi = support.c.ffi

ffi.cdef [[
int luaL_loadstring(void *L, const char *s);
int lua_pcall(void *L, int nargs, int nresults, int errfunc);
const char *lua_tolstring(void *L, int idx, size_t *len);
void lua_settop(void *L, int idx);
struct fuel_spec_host { struct rp_host_face face; uint32_t magic; void *L; };
]]

local site

-- Run a text in the site's VM, with all of Lua; its result as a string.
local function inside(text)
    local L = ffi.cast("struct fuel_spec_host *", site.conf.script).L
    assert.equal(0, ffi.C.luaL_loadstring(L, text))
    local code = ffi.C.lua_pcall(L, 0, 1, 0)
    local result = ffi.C.lua_tolstring(L, -1, nil)
    result = result ~= nil and ffi.string(result) or nil
    ffi.C.lua_settop(L, -2)
    assert.equal(0, code, result)
    return result
end

local MODULE = [[
local rp = require("rproxy")
local M = rp.plugin { name = "boxed" }
local function inner(n) local x = 0 for i = 1, n do x = x + i % 3 end return x end
function M.setup()
    return { access = function(req)
        if req.path == "/hot" then return req:exit(200, tostring(inner(3000))) end
        if req.path == "/lib" then
            local out = 0
            for i = 1, 200 do out = out + #rp.hex(("a"):rep(i % 5)) + #("abc"):gsub("%w", "x") end
            return req:exit(200, tostring(out))
        end
        if req.path == "/loop" then while true do end end
        if req.path == "/eat" then local t = {} for i = 1, 1e9 do t[i] = i end end
    end }
end
return M
]]

local function serve(instance, before)
    site = support.site([[ rp.route { "/*", content = function(req)
            local x = 0 for i = 1, 3000 do x = x + i % 7 end
            return req:exit(200, "site" .. x) end } ]],
        { before = 'local boxed = require("boxed") ' .. (before or ""),
            files = { ["boxed.lua"] = MODULE, ["./boxed.lua"] = MODULE },
            more = ("use = { boxed { untrusted = true, %s } },"):format(instance or "") })
    return site
end

describe("script/vm_fuel", function()
    after_each(function()
        if site then site:close() end
        site = nil
    end)

    it("has no instruction of untrusted code in a trace, and the site's own in some", function()
        serve()
        inside [[
            local util = require("jit.util")
            recorded, done = {}, {}
            jit.attach(function(tr, func)
                local info = util.funcinfo(func)
                recorded[tr] = recorded[tr] or {}
                recorded[tr][tostring(info.source)] = true
            end, "record")
            jit.attach(function(what, tr)
                if what == "start" then recorded[tr] = {} end
                if what == "stop" then
                    for source in pairs(recorded[tr] or {}) do done[source] = true end
                end
            end, "trace")
        ]]
        for _ = 1, 300 do assert.equal("3000", site:get("/hot").body) end
        for _ = 1, 30 do site:get("/lib") end
        for _ = 1, 300 do assert.matches("^site", site:get("/other").body) end
        local sources = inside [[
            local list = {}
            for source in pairs(done) do list[#list + 1] = source end
            table.sort(list)
            return table.concat(list, " ") ]]
        assert.matches("site.lua", sources)
        assert.is_nil(sources:find("boxed.lua", 1, true), sources)
        assert.is_nil(sources:find("confine", 1, true), sources)
    end)

    it("is off again after each call, however it ended", function()
        serve('limits = { memory = "1m" }')
        for _, path in ipairs { "/hot", "/loop", "/eat", "/lib" } do
            site:get(path)
            assert.equal("true", inside [[
                return tostring(debug.gethook() == nil and ("a").find == string.find) ]], path)
        end
    end)

    it("takes the same instructions for the same work", function()
        serve()
        local function left()
            return inside [[
                local host = require("rproxy.host")
                local work = loadstring("local x = 0 for i = 1, 1000 do x = x + i end return x")
                jit.off(work)
                host.fuel_begin(100000, 1e6, host.fuel_strings(string))
                work()
                local _, left = host.fuel_end()
                return tostring(left) ]]
        end
        local first = left()
        for _ = 1, 5 do assert.equal(first, left()) end
        local used = 100000 - tonumber(first)
        assert.is_true(used >= 2000 and used <= 2200, "used " .. used)
    end)

    it("never lets one instruction more than the bound be run", function()
        serve()
        for _, bound in ipairs { 100, 101, 131, 132, 1000, 1023, 1024, 1025 } do
            local n = tonumber(inside(([[
                local host = require("rproxy.host")
                local seen = { 0 }
                -- FORL, TGETB, ADDVN, TSETB: four instructions a round
                local work = loadstring("local seen = ... for i = 1, 1e9 do seen[1] = seen[1] + 1 end")
                jit.off(work)
                local ok = pcall(function()
                    host.fuel_begin(%d, 1e6, host.fuel_strings(string))
                    work(seen)
                end)
                host.fuel_end()
                return tostring(ok and -1 or seen[1]) ]]):format(bound)))
            assert.is_true(n <= bound / 4, bound .. " " .. n)
            assert.is_true(n >= bound / 4 - 10, bound .. " " .. n)
        end
    end)

    it("counts bytes, and refuses the one that is too many", function()
        serve()
        local text = inside [[
            local host = require("rproxy.host")
            local ok, err = pcall(function()
                host.fuel_begin(1e9, 100000, host.fuel_strings(string))
                local s = ("x"):rep(99000)
                s = s .. ("y"):rep(2000)
            end)
            local what, _, bytes = host.fuel_end()
            return tostring(ok) .. " " .. tostring(what) .. " " .. tostring(bytes >= 0) ]]
        assert.equal("false memory true", text)
    end)
end)
