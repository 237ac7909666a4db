-- SPDX-License-Identifier: MIT
--
-- `rproxy schema`: what it prints is read by a validator of others where there is one (ajv, which
-- `make interop` installs).

local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")

local TOKEN = [[
local rp = require("rproxy")
local M = rp.plugin { name = "token", version = "1.0", doc = "Says \"who\".",
    schema = { tokens = { "list", of = "string", default = {} },
        every = { "duration", required = true, doc = "How often, in \"5m\"." } } }
function M.setup() error("it must not run") end
return M
]]

describe("rproxy schema", function()
    local dir
    before_each(function()
        dir = proc.temp_dir()
        proc.run { "mkdir", dir .. "/plugins" }
        proc.run { "chmod", "755", dir }
        posix.write_file(dir .. "/plugins/token.lua", TOKEN)
    end)
    after_each(proc.cleanup)

    local function run(...)
        local how, out, err = proc.run { process.BIN, "schema", ... }
        return how.exit, out, err
    end

    it("prints the schema of a built-in plugin, of a module and of a file", function()
        local status, out = run("ratelimit")
        assert.equal(0, status)
        assert.matches('"$schema": "https://json-schema.org/draft/2020-12/schema"', out, 1, true)
        for _, words in ipairs { { "-C", dir, "token" }, { "-C", dir, "plugins.token" },
            { dir .. "/plugins/token.lua" } } do
            local err
            status, out, err = run(unpack(words))
            assert.equal(0, status, err)
            assert.matches('"description": "Says \\"who\\".",', out, 1, true)
            assert.matches('"required": [\n    "every"\n  ]', out, 1, true)
            assert.matches('"default": [],', out, 1, true)
        end
    end)

    it("prints classes for editors", function()
        local status, out = run("-C", dir, "--types", "token")
        assert.equal(0, status)
        assert.matches("^%-%-%-@meta\n", out)
        assert.matches('---@field every number|string How often, in "5m".', out, 1, true)
    end)

    it("says what is wrong", function()
        posix.write_file(dir .. "/plugins/none.lua", "return {}")
        posix.write_file(dir .. "/plugins/broken.lua", "return")
        posix.write_file(dir .. "/plugins/syntax.lua", "x = = 1")
        for name, what in pairs { none = "is no plugin", broken = "is no plugin", syntax = "syntax.lua:1:",
            nothing = "not found" } do
            local status, _, err = run("-C", dir, name)
            assert.equal(2, status, name)
            assert.matches(what, err)
        end
    end)

    it("is taken by another validator", function()
        local how = proc.run { "sh", "-c", "cd spec/interop && node -e 'require(\"ajv\")'" }
        if how.exit ~= 0 then
            pending("no ajv: make interop installs it")
            return
        end
        local result, out, err = proc.run { "sh", "-c", "RP_BIN=" .. process.BIN
            .. " node spec/interop/schema.js" }
        assert.equal(0, result.exit, out .. err)
    end)
end)
