-- SPDX-License-Identifier: MIT
--
-- date: times as texts: of HTTP (RFC 9110 §5.6.7) and of RFC 3339. Seconds since 1970, UTC. Pure.

local object = require("rproxy.object")

local M = {}

local raise = object.raise

local DAY = 86400
local DAYS = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local LONG_DAYS = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" }
local MONTHS = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov",
    "Dec" }
local MOST = 253402300799 -- the end of the year 9999

local function index_of(list)
    local set = {}
    for i, name in ipairs(list) do set[name] = i end
    return set
end
local MONTH, WEEKDAY, LONG_DAY = index_of(MONTHS), index_of(DAYS), index_of(LONG_DAYS)

-- ---------------------------------------------------------------- the calendar

-- Years begin in March here, so that the leap day is a year's last.
local function days_from(year, month, day)
    local y = month > 2 and year or year - 1
    local m = month > 2 and month - 3 or month + 9
    return 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400)
        + math.floor((153 * m + 2) / 5) + day - 1 - 719468
end

local function civil_from(days)
    local shifted = days + 719468
    local y = math.floor((shifted - math.floor(shifted / 146097) * 146097
        - math.floor((shifted % 146097) / 1460) + math.floor((shifted % 146097) / 36524)
        - math.floor((shifted % 146097) / 146096)) / 365) + 400 * math.floor(shifted / 146097)
    local doy = shifted - (365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400))
    local m = math.floor((5 * doy + 2) / 153)
    local day = doy - math.floor((153 * m + 2) / 5) + 1
    local month = m < 10 and m + 3 or m - 9
    return month <= 2 and y + 1 or y, month, day
end

local LENGTHS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local function month_days(year, month)
    local leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
    return month == 2 and leap and 29 or LENGTHS[month]
end

-- A leap second is the last second of its minute.
local function seconds(year, month, day, h, m, s)
    if not month or month < 1 or month > 12 or day < 1 or day > month_days(year, month)
        or h > 23 or m > 59 or s > 60 then
        return nil
    end
    return days_from(year, month, day) * DAY + h * 3600 + m * 60 + math.min(s, 59)
end

local function check(what, time)
    if type(time) ~= "number" or not (time >= 0 and time <= MOST) then
        raise("%s takes seconds since 1970", what)
    end
    return math.floor(time)
end

local function numbers(...)
    local a, b, c, d, e, f = ...
    return tonumber(a), tonumber(b), tonumber(c), tonumber(d), tonumber(e), tonumber(f)
end

-- ---------------------------------------------------------------- HTTP

--- "Sun, 06 Nov 1994 08:49:37 GMT"
--- @param time number  seconds since 1970
function M.http(time)
    local t = check("date.http", time)
    local days, rest = math.floor(t / DAY), t % DAY
    local year, month, day = civil_from(days)
    return ("%s, %02d %s %04d %02d:%02d:%02d GMT"):format(DAYS[(days + 4) % 7 + 1], day,
        MONTHS[month], year, math.floor(rest / 3600), math.floor(rest / 60) % 60, rest % 60)
end

local function fixdate(text)
    local wday, day, mon, year, h, m, s =
        text:match("^(%a%a%a), (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
    if not WEEKDAY[wday] then return nil end
    day, year, h, m, s = numbers(day, year, h, m, s)
    return seconds(year, MONTH[mon], day, h, m, s)
end

-- A year of two digits that seems to be more than 50 years ahead is one of the past.
local function rfc850(text, now)
    local wday, day, mon, yy, h, m, s =
        text:match("^(%a+), (%d%d)%-(%a%a%a)%-(%d%d) (%d%d):(%d%d):(%d%d) GMT$")
    if not LONG_DAY[wday] then return nil end
    day, yy, h, m, s = numbers(day, yy, h, m, s)
    local this = civil_from(math.floor(now / DAY))
    local year = this - this % 100 + yy
    if year > this + 50 then year = year - 100 end
    return seconds(year, MONTH[mon], day, h, m, s)
end

local function asctime(text)
    local wday, mon, day, h, m, s, year =
        text:match("^(%a%a%a) (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$")
    if not WEEKDAY[wday] then return nil end
    day, year, h, m, s = numbers(day, year, h, m, s)
    return seconds(year, MONTH[mon], day, h, m, s)
end

--- A date of HTTP in any of its three forms.
--- @return number|nil time, string|nil err  err: "invalid"
function M.parse_http(text)
    if type(text) ~= "string" then raise("date.parse_http takes a string") end
    local time = fixdate(text) or rfc850(text, require("rproxy.time").time()) or asctime(text)
    if time then return time end
    return nil, "invalid"
end

-- ---------------------------------------------------------------- RFC 3339

--- "1994-11-06T08:49:37Z"
--- @param time number  seconds since 1970
--- @param digits number|nil  of the fraction of the second, 0 to 6
function M.rfc3339(time, digits)
    local t = check("date.rfc3339", time)
    digits = digits or 0
    if type(digits) ~= "number" or digits < 0 or digits > 6 then
        raise("date.rfc3339 takes 0 to 6 digits")
    end
    local days, rest = math.floor(t / DAY), t % DAY
    local year, month, day = civil_from(days)
    local fraction = ""
    if digits > 0 then
        fraction = ("%%.%df"):format(digits):format(math.floor((time - t) * 10 ^ digits)
            / 10 ^ digits):sub(2)
    end
    return ("%04d-%02d-%02dT%02d:%02d:%02d%sZ"):format(year, month, day, math.floor(rest / 3600),
        math.floor(rest / 60) % 60, rest % 60, fraction)
end

local function offset_of(zone)
    if zone == "Z" or zone == "z" then return 0 end
    local sign, h, m = zone:match("^([+-])(%d%d):(%d%d)$")
    if not sign or tonumber(h) > 23 or tonumber(m) > 59 then return nil end
    return (h * 3600 + m * 60) * (sign == "-" and -1 or 1)
end

--- @return number|nil time, string|nil err  err: "invalid"
function M.parse_rfc3339(text)
    if type(text) ~= "string" then raise("date.parse_rfc3339 takes a string") end
    local year, month, day, h, m, s, fraction, zone =
        text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt](%d%d):(%d%d):(%d%d)(%.?%d*)([Zz+-].*)$")
    local offset = zone and fraction ~= "." and (fraction == "" or fraction:sub(1, 1) == ".")
        and offset_of(zone)
    local time = offset and seconds(numbers(year, month, day, h, m, s))
    if not time then return nil, "invalid" end
    return time - offset + (fraction ~= "" and tonumber("0" .. fraction) or 0)
end

local FORMAT_MOST = 1000

--- A time by a pattern of strftime(3), in UTC and in the C locale: "%d/%b/%Y %H:%M:%S".
--- @param pattern string  at most 1000 bytes
--- @param time number     seconds since 1970
function M.format(pattern, time)
    if type(pattern) ~= "string" or #pattern > FORMAT_MOST then
        raise("date.format takes a pattern of at most %d bytes", FORMAT_MOST)
    end
    for letter in pattern:gmatch("%%(.?)") do
        if not letter:find("^[%%aAbBcCdDeFgGhHIjmMnprRStTuUVwWxXyYzZ]$") then
            raise("date.format: unknown %%%s", letter)
        end
    end
    time = check("date.format", time)
    if pattern == "" then return "" end
    -- "*t" at the beginning would be a table.
    local star = pattern:match("^%*?")
    return star .. os.date("!%%" .. pattern:sub(#star + 1), time):sub(2)
end

return M
