-- SPDX-License-Identifier: MIT
local nearest = require("rproxy.config.nearest")
local units = require("rproxy.config.units")

describe("rproxy.config.units", function()
    it("reads durations as seconds", function()
        for text, seconds in pairs { ["500ms"] = 0.5, ["10s"] = 10, ["5m"] = 300, ["2h"] = 7200,
            ["1d"] = 86400, ["1.5s"] = 1.5, ["0s"] = 0 } do
            assert.equal(seconds, units.duration(text), text)
        end
        assert.equal(2.5, units.duration(2.5))
    end)

    it("refuses what is no duration", function()
        for _, value in ipairs { "10", "s", "10 s", "-1s", "10S", "1w", "", "1e3s", -1, 0 / 0,
            math.huge, true, {} } do
            assert.is_nil(units.duration(value), tostring(value))
        end
    end)

    it("reads sizes as bytes, powers of 1024", function()
        for text, bytes in pairs { ["64k"] = 65536, ["8m"] = 8388608, ["1g"] = 2 ^ 30,
            ["1K"] = 1024, ["10"] = 10, ["1.5k"] = 1536 } do
            assert.equal(bytes, units.size(text), text)
        end
        assert.equal(4096, units.size(4096))
        assert.equal(math.huge, units.size(math.huge))
    end)

    it("refuses what is no size", function()
        for _, value in ipairs { "k", "-1k", "1kb", "1 k", 1.5, "1.0001k", -1, 0 / 0, 2 ^ 53,
            {} } do
            assert.is_nil(units.size(value), tostring(value))
        end
    end)

    it("shows the largest unit that is whole", function()
        assert.equal("90s", units.show_duration(90))
        assert.equal("5m", units.show_duration(300))
        assert.equal("50ms", units.show_duration(0.05))
        assert.equal("0", units.show_duration(0))
        assert.equal("8m", units.show_size(2 ^ 23))
        assert.equal("1000", units.show_size(1000))
        assert.equal("no limit", units.show_size(math.huge))
    end)
end)

describe("rproxy.config.nearest", function()
    local names = { "timeouts", "limits", "listeners", "header_bytes", "use" }

    it("finds a name with a slip in it", function()
        assert.equal("timeouts", nearest.find("timeout", names))
        assert.equal("limits", nearest.find("limtis", names))
        assert.equal("header_bytes", nearest.find("header-bytes", names))
        assert.equal("header_bytes", nearest.find("headerBytes", { "header_bytes" }))
    end)

    it("suggests nothing that is far off", function()
        assert.is_nil(nearest.find("workers", names))
        assert.is_nil(nearest.find("xyz", names))
        assert.equal("; known: a, b", nearest.hint("zzz", { "a", "b" }))
    end)
end)
