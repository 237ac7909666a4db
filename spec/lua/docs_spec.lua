-- SPDX-License-Identifier: MIT
--
-- The reference is what the program would generate, and the Lua in the guides runs.

local config = require("spec.support.config")
local docs = require("tools.docs")
local posix = require("spec.support.posix")

-- Code blocks of a page that are whole programs ("```lua", not "```lua fragment").
local function blocks(path)
    local text, list = posix.read_file(path), {}
    for code in text:gmatch("\n```lua\n(.-)\n```\n") do list[#list + 1] = code end
    assert(#list > 0, path .. ": no code")
    return list
end

local function try(path, code)
    if code:find("return rp.site", 1, true) then
        assert.equal("", config.errors(code, { path = path }))
    else
        local made = assert(loadstring(code, "@" .. path))()
        assert.is_string(made.name)
        package.loaded["plugins." .. made.name] = made
        finally(function() package.loaded["plugins." .. made.name] = nil end)
        assert.is_function(made.setup)
    end
end

describe("docs", function()
    it("are up to date: run make docs", function()
        assert.same({}, (docs.stale()))
    end)

    for _, path in ipairs { "docs/guide/site.md", "docs/guide/plugins.md",
        "docs/guide/tunnels.md", "docs/guide/record-replay.md",
        "plugins/request_id/README.md", "plugins/headers/README.md",
        "plugins/ratelimit/README.md", "docs/guide/shared.md", "docs/guide/redis.md",
        "docs/guide/background.md", "docs/guide/discovery.md", "docs/guide/files.md", "docs/guide/async.md",
        "docs/guide/coming-from-openresty.md" } do
        it("of " .. path .. " hold code that runs", function()
            for _, code in ipairs(blocks(path)) do try(path, code) end
        end)
    end

    it("have editor types that are Lua", function()
        local text = posix.read_file("types/rproxy.lua")
        assert(loadstring(text, "@types/rproxy.lua"))
        for _, name in ipairs { "rp.sleep(", "rp.tcp.connect(", "rp.http.client(", "socket:release(" } do
            assert.truthy(text:find("function " .. name, 1, true), name)
        end
    end)

    it("of every option say what it means in words that end", function()
        for line in posix.read_file("docs/reference/options.md"):gmatch("\n| `[^\n]+0%.1 |") do
            assert.matches("[.:] | 0.1 |$", line)
        end
    end)

    it("of the tutorial's plugin tell the truth about its mistakes", function()
        local code = blocks("docs/guide/plugins.md")[2]
        package.loaded["plugins.token"] = assert(loadstring(code))()
        finally(function() package.loaded["plugins.token"] = nil end)
        assert.equal("site.lua:1: plugins.token.tokens: missing; expected a list", config.errors(
            "local token = require('plugins.token') { } " .. config.minimal {
                site = "use = { token }," }))
    end)
end)
