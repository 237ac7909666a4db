-- SPDX-License-Identifier: MIT
local columns = require("rproxy.cli.columns")

local function written(lines, is_number)
    local out, write = {}, io.stdout
    -- luacheck: push ignore 122
    io.stdout = { write = function(_, ...) out[#out + 1] = table.concat { ... } end }
    local ok, err = pcall(columns.write, lines, is_number)
    io.stdout = write
    -- luacheck: pop
    assert(ok, err)
    return table.concat(out)
end

describe("rproxy.cli.columns", function()
    it("says times in the unit that fits", function()
        for us, text in pairs { [1] = "1 us", [999] = "999 us", [1000] = "1.0 ms",
            [1549] = "1.5 ms", [1e6] = "1.0 s", [0] = "-" } do
            assert.equal(text, columns.time(us))
        end
        assert.equal("-", columns.time(nil))
    end)

    it("writes cells below each other, numbers to the right, and no blanks at the end", function()
        local text = written({ { "name", "n", "why" }, { "a", "100", "-" }, { "longer", "2", "" } },
            function(i) return i == 2 end)
        assert.equal("name      n  why\na       100  -\nlonger    2\n", text)
    end)
end)
