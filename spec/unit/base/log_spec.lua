-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local support = require("spec.unit.base.support")
local C = c.load { "base/log.h" }
local ffi, s = c.ffi, c.str

local function line_of(level, fmt, ...)
    local args = { ... }
    return support.stderr_of(function()
        C.rp_log_write(level, fmt, unpack(args))
    end)
end

local function esc(text)
    return ffi.string(C.rp_log_esc(s(text)))
end

describe("rp_log_write", function()
    it("writes time, level, pid and message as one line", function()
        local pid = require("spec.support.posix").C.getpid()
        local line = line_of(C.RP_LOG_warn, "peer down name=%s", "a:80")
        assert.is_truthy(line:find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ warn %[" .. pid
            .. "%] peer down name=a:80\n$"), line)
    end)

    it("keeps one line whatever is printed into it", function()
        local line = line_of(C.RP_LOG_error, "%s", "a\nb\r\27[31m\127\té")
        assert.is_truthy(line:find([[ a\x0ab\x0d\x1b[31m\x7f\x09é]] .. "\n", 1, true), line)
    end)

    it("cuts what is too long, at 4096 bytes with its mark", function()
        for _, text in ipairs { ("x"):rep(5000), ("\n"):rep(4000), ("x"):rep(4090) } do
            local line = line_of(C.RP_LOG_info, "%s", text)
            assert.is_true(#line <= 4096 and #line > 4080, #line)
            assert.equal("...\n", line:sub(-4))
            local _, n = line:gsub("\n", "")
            assert.equal(1, n)
        end
        local whole = line_of(C.RP_LOG_info, "%s", ("x"):rep(4000))
        assert.is_truthy(whole:find("^[^x]+" .. ("x"):rep(4000) .. "\n$"))
    end)
end)

describe("rp_log_esc", function()
    it("leaves printable ASCII only", function()
        assert.equal([[a b\x22\x5c\x00\xff\x0a]], esc("a b\"\\\0\255\n"))
        assert.equal("", esc(""))
        assert.equal("", ffi.string(C.rp_log_esc(ffi.new("rp_str"))))
    end)

    it("is cut at 256 bytes, never inside an escape", function()
        assert.equal(("x"):rep(256), esc(("x"):rep(256)))
        assert.equal(("x"):rep(256) .. "...", esc(("x"):rep(257)))
        assert.equal(("\\x00"):rep(64), esc(("\0"):rep(64)))
        assert.equal(("\\x00"):rep(64) .. "...", esc(("\0"):rep(65)))
        assert.equal(("x"):rep(253) .. "...", esc(("x"):rep(253) .. "\0"))
    end)

    it("is good for four uses in one call", function()
        local list = {}
        for i = 1, 4 do
            list[i] = C.rp_log_esc(s("text " .. i))
        end
        for i = 1, 4 do
            assert.equal("text " .. i, ffi.string(list[i]))
        end
    end)
end)

describe("log levels", function()
    it("have names that are found again", function()
        local out = ffi.new("enum rp_log_level[1]")
        for i, name in ipairs { "debug", "info", "notice", "warn", "error", "alert" } do
            assert.equal(name, ffi.string(C.rp_log_level_name(i - 1)))
            assert.equal(0, C.rp_log_level_find(s(name), out))
            assert.equal(i - 1, tonumber(out[0]))
        end
        for _, name in ipairs { "", "Debug", "warning", "err" } do
            assert.equal("NOT_FOUND", c.err_name(C.rp_log_level_find(s(name), out)))
        end
        assert.equal(C.RP_LOG_info, tonumber(C.rp_log_threshold))
    end)
end)
