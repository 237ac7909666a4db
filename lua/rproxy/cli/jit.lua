-- SPDX-License-Identifier: MIT
--
-- jit: `rproxy jit`: where LuaJIT gave up compiling, by line of the site (rproxy.jit_report).

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local json = require("rproxy.json")

local M = {}

M.SPEC = {
    usage = "jit -p site.lua [--seconds N] [--worker N]\njit -p site.lua --requests FILE",
    about = [[Tell what LuaJIT compiled in a worker that serves, and where it gave up, with the
        reason: a hook that is not compiled runs many times slower. It is watched for some seconds,
        so there must be requests meanwhile. What was given up for good before is told only when
        the site counts from its start: lua = { jit_report = true }; then --seconds 0 tells all.

        With --requests no worker is asked: the requests of the file run through the site in this
        process, again and again until what is hot was recorded. It has a request per line: a URL,
        METHOD and URL, or a line of a JSON access log. Upstreams are played and answer 200.

        Exit status: 0 nothing of the site was given up, 1 something was, 2 wrong usage.]],
    site = "needed",
    options = {
        { "seconds", value = "N", doc = "how long to watch, up to 600", default = "10" },
        { "worker", value = "N", doc = "its number; unsaid, the first that serves" },
        { "requests", value = "FILE", doc = "requests to run in a lab; - is standard input" },
        { "all", doc = "tell of the code of rproxy, too" },
        { "json", doc = "the report as JSON" },
    },
}

local function is_own(place)
    return place:find("^lua/rproxy/") ~= nil or place == "a function of C" or place:find("^chain:")
        or place == "?"
end

--- Places that the site can do something about: where it gave up, or at least where it began.
local function chosen(places, all)
    local out = {}
    for _, p in ipairs(places) do
        if all or not is_own(p.at) or not is_own(p.from) then out[#out + 1] = p end
    end
    return out
end

local function print_places(report, places)
    io.stdout:write(("%d traces compiled, %d recordings given up%s\n"):format(report.traces,
        report.aborts, report.flushes > 0 and (", %d times all traces thrown away"):format(
            report.flushes) or ""))
    if not report.is_on then io.stdout:write("the JIT compiler is off\n") end
    for _, p in ipairs(places) do
        local from = p.from ~= p.at and p.from ~= "?" and (" (recorded from %s)"):format(p.from)
            or ""
        io.stdout:write(("%6d  %s: %s%s\n"):format(p.n, p.at, p.reason, from))
    end
end

-- ---------------------------------------------------------------- in a lab

local REQUESTS_MOST = 10000

-- "GET http://host/path", "/path", { "method": .., "host": .., "path": .. }
local function request_of(line)
    if line:sub(1, 1) == "{" then
        local entry = json.decode(line)
        if type(entry) ~= "table" or type(entry.path) ~= "string" then return nil end
        local query = type(entry.query) == "string" and "?" .. entry.query or ""
        return { method = type(entry.method) == "string" and entry.method or "GET",
            path = entry.path .. query, host = type(entry.host) == "string" and entry.host or nil }
    end
    local method, url = line:match("^(%u[%u%-]*)%s+(%S+)$")
    if not method then method, url = "GET", line:match("^(%S+)$") end
    if not url or not (url:find("^https?://[^/]") or url:find("^/")) then return nil end
    return { method = method, url = url }
end

local function requests_of(path)
    local text, err
    if path == "-" then text = io.read("*a") else text, err = cli.read(path) end
    if not text then cli.fail(("%s: %s"):format(path, err)) end
    local list, n = {}, 0
    for line in (text .. "\n"):gmatch("([^\n]*)\n") do
        n = n + 1
        line = line:match("^%s*(.-)%s*$")
        if line ~= "" and line:sub(1, 1) ~= "#" then
            list[#list + 1] = { ask = request_of(line)
                or cli.fail(("%s:%d: expected METHOD and URL, got %q"):format(path, n, line)) }
        end
        if #list > REQUESTS_MOST then cli.fail(path .. ": at most 10000 requests") end
    end
    if not list[1] then cli.fail(path .. ": no request in it") end
    return list
end

-- rproxy.test.aborts repeats the requests and watches.
local function in_a_lab(opts)
    local asked = requests_of(opts.requests)
    local opened, lab = pcall(require("rproxy.lab").open, cli.path(opts.site), {
        strays = "refuse", overrides = opts.overrides, budget = false, journal = false })
    if not opened then cli.fail(tostring(lab)) end
    for _, up in ipairs(lab.model.upstreams) do
        lab:upstream(up.name, function() return 200, "stand-in\n" end)
    end
    local lines = require("rproxy.test.aborts").of({ lab = lab, asked = asked })
    lab:close()
    if opts.json then
        io.stdout:write(assert(json.encode(json.array(lines))), "\n")
    else
        for _, line in ipairs(lines) do io.stdout:write(line, "\n") end
        if not lines[1] then io.stdout:write("all hooks that ran were compiled\n") end
    end
    return lines[1] and 1 or 0
end

function M.main(argv)
    local opts = args.read(argv, M.SPEC)
    if opts.requests then return in_a_lab(opts) end
    local seconds = tonumber(opts.seconds)
    if not seconds or seconds < 0 or seconds > 600 or seconds % 1 ~= 0 then
        cli.fail("--seconds takes a whole number from 0 to 600")
    end
    cli.connect(opts.site, opts.overrides)
    local status, text = cli.ask(opts.worker, ("jit %d"):format(seconds), seconds + 10)
    if status ~= 0 then cli.fail(text, status == 1 and 1 or 2) end
    local report = assert(json.decode(text))
    local places = chosen(report.places, opts.all)
    if opts.json then
        io.stdout:write(text, "\n")
        return #places > 0 and 1 or 0
    end
    print_places(report, places)
    return #places > 0 and 1 or 0
end

return M
