-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local C = c.load { "base/clock.h" }
local ffi = c.ffi

-- Text of n bytes; the byte behind must be untouched.
local function put(fn, n, at)
    local out = ffi.new("char[64]")
    ffi.fill(out, 64, 0x23)
    fn(out, at)
    assert.equal(("#"):rep(64 - n), ffi.string(out + n, 64 - n))
    return ffi.string(out, n)
end
local function date(at) return put(C.rp_clock_put_date, 29, at) end
local function clf(at) return put(C.rp_clock_put_clf, 26, at) end
local function iso(at) return put(C.rp_clock_put_iso, 24, at) end

describe("rp_clock_put_date", function()
    it("writes IMF-fixdate (RFC 9110 §5.6.7)", function()
        assert.equal("Sun, 06 Nov 1994 08:49:37 GMT", date(784111777))
        assert.equal("Thu, 01 Jan 1970 00:00:00 GMT", date(0))
        assert.equal("Wed, 31 Dec 1969 23:59:59 GMT", date(-1))
    end)

    it("knows leap years", function()
        assert.equal("Tue, 29 Feb 2000 00:00:00 GMT", date(951782400))
        assert.equal("Wed, 01 Mar 2000 00:00:00 GMT", date(951868800))
        assert.equal("Sun, 28 Feb 2100 23:59:59 GMT", date(4107542399))
        assert.equal("Mon, 01 Mar 2100 00:00:00 GMT", date(4107542400))
    end)

    it("shows the nearest date outside four-digit years", function()
        assert.equal("Fri, 31 Dec 9999 23:59:59 GMT", date(253402300799))
        assert.equal("Fri, 31 Dec 9999 23:59:59 GMT", date(253402300800))
        assert.equal("Fri, 31 Dec 9999 23:59:59 GMT", date(0x7fffffffffffffffLL))
        assert.equal("Sat, 01 Jan 0000 00:00:00 GMT", date(-62167219200LL))
        assert.equal("Sat, 01 Jan 0000 00:00:00 GMT", date(-0x7fffffffffffffffLL))
    end)

    it("agrees with the C library", function()
        math.randomseed(1)
        for _ = 1, 20000 do
            local at = math.random(-62135596800 / 1000, 253402300 - 1) * 1000 + math.random(0, 999)
            local want = os.date("!%a, %d %b @ %H:%M:%S GMT", at):gsub("@", function()
                return ("%04d"):format(os.date("!*t", at).year)
            end)
            if want ~= date(at) then error(at .. ": " .. want .. " / " .. date(at)) end
        end
    end)
end)

describe("the log forms", function()
    it("are UTC", function()
        assert.equal("06/Nov/1994:08:49:37 +0000", clf(784111777))
        assert.equal("1994-11-06T08:49:37.000Z", iso(784111777))
    end)

    it("cut to milliseconds and never print a second too many", function()
        assert.equal("1994-11-06T08:49:37.123Z", iso(784111777.123))
        assert.equal("1994-11-06T08:49:37.999Z", iso(784111777.999))
        assert.equal("1994-11-06T08:49:37.999Z", iso(784111777.9999999))
        assert.equal("1969-12-31T23:59:59.500Z", iso(-0.5))
        for ms = 0, 999 do
            assert.equal((".%03dZ"):format(ms), iso(1700000000 + ms / 1000):sub(-5))
        end
    end)

    it("take any double", function()
        assert.equal("0000-01-01T00:00:00.000Z", iso(0 / 0))
        assert.equal("0000-01-01T00:00:00.000Z", iso(-math.huge))
        assert.equal("9999-12-31T23:59:59.999Z", iso(math.huge):sub(1, 24))
    end)
end)

describe("the clocks", function()
    it("run", function()
        local a, wall = C.rp_clock_mono_ns(), C.rp_clock_wall()
        local b = C.rp_clock_mono_ns()
        assert.is_true(b >= a and b - a < 1000000000ULL)
        assert.is_true(math.abs(wall - os.time()) < 2)
    end)

    it("are two: only the wall clock is CLOCK_REALTIME", function()
        local source = io.open("runtime/base/clock.c"):read("*a")
        local _, n = source:gsub("CLOCK_REALTIME", "")
        assert.equal(1, n)
        assert.is_truthy(source:find("double rp_clock_wall%b()%s*{[^}]*CLOCK_REALTIME"))
    end)
end)
