-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local support = require("spec.unit.script.support")

local C, ffi = support.C, c.ffi

local function read(bundle, path)
    local out = ffi.new("rp_str[1]")
    local code = C.rp_bundle_read(bundle, c.str(path), out)
    if code ~= 0 then return nil, c.err_name(code) end
    return ffi.string(out[0].ptr, out[0].len)
end

local function free(bundle)
    C.rp_bundle_free(ffi.new("struct rp_bundle *[1]", bundle))
end

local function saved(bundle)
    local buf = ffi.new("struct rp_buf")
    C.rp_buf_init(buf, 1e6)
    assert.equal(0, C.rp_bundle_save(bundle, buf))
    local text = c.lua(C.rp_buf_str(buf))
    C.rp_buf_fini(buf)
    return text
end

local function load(text)
    local out = ffi.new("struct rp_bundle *[1]")
    local code = C.rp_bundle_load(c.str(text), out)
    return code == 0 and out[0] or nil, c.err_name(code)
end

describe("script/bundle", function()
    it("gives files back, and knows which are absent", function()
        local b = support.bundle { ["a.lua"] = "return 1\0x", ["b.lua"] = "", ["c.lua"] = false }
        assert.equal("return 1\0x", read(b, "/srv/site/a.lua"))
        assert.equal("", read(b, "/srv/site/b.lua"))
        assert.same({ nil, "NOT_FOUND" }, { read(b, "/srv/site/c.lua") })
        assert.same({ nil, "NOT_FOUND" }, { read(b, "/srv/site/d.lua") })
        assert.equal("/srv/site/site.lua", c.lua(C.rp_bundle_site(b)))
        free(b)
    end)

    it("survives saving and loading", function()
        local b = support.bundle({ ["a.lua"] = "x", ["b.lua"] = false }, "workers=2\n")
        local again = assert(load(saved(b)))
        assert.equal("x", read(again, "/srv/site/a.lua"))
        assert.equal("workers=2\n", c.lua(C.rp_bundle_overrides(again)))
        assert.equal(saved(b), saved(again))
        free(b)
        free(again)
    end)

    it("refuses every text that is cut short or goes on", function()
        local b = support.bundle { ["a.lua"] = "x" }
        local whole = saved(b)
        for n = 0, #whole - 1 do
            assert.same({ nil, "INVALID" }, { load(whole:sub(1, n)) })
        end
        assert.same({ nil, "INVALID" }, { load(whole .. "x") })
        free(b)
    end)

    it("refuses a length that is not there", function()
        local b = support.bundle { ["a.lua"] = "x" }
        local whole = saved(b)
        assert.same({ nil, "INVALID" },
            { load(whole:sub(1, 8) .. ("\255"):rep(8) .. whole:sub(17)) })
        free(b)
    end)
end)
