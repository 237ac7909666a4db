-- SPDX-License-Identifier: MIT
--
-- Each test that docs/reference/conformance.md names exists under that name.

local posix = require("spec.support.posix")

local PAGE = "docs/reference/conformance.md"

--- Every `file`: "test" of the page; calls found(file, test).
local function each_proof(found)
    for file, test in posix.read_file(PAGE):gmatch('`([%w_/]+)`: "([^"]+)"') do found(file, test) end
end

local function text_of(file)
    return posix.read_file("spec/" .. file .. "_spec.lua") or posix.read_file("spec/" .. file .. ".lua")
end

describe("the page on conformance", function()
    it("names tests that exist", function()
        local missing, n = {}, 0
        each_proof(function(file, test)
            n = n + 1
            local text = text_of(file)
            if not text or not text:find('"' .. test .. '"', 1, true) then
                missing[#missing + 1] = file .. ": " .. test
            end
        end)
        assert.same({}, missing)
        assert.is_true(n > 100)
    end)

    it("has a proof, a reason or a gap in every row", function()
        local bare = {}
        for line in posix.read_file(PAGE):gmatch("(| 9[^\n]+)\n") do
            if not line:find('`: "', 1, true) and not line:find("not applicable: ", 1, true)
                and not line:find("**gap**", 1, true) then
                bare[#bare + 1] = line
            end
        end
        assert.same({}, bare)
    end)
end)
