-- SPDX-License-Identifier: MIT
--
-- jit: `rproxy jit`: where LuaJIT gave up compiling, by line of the site (rproxy.jit_report).

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local json = require("rproxy.json")

local M = {}

M.SPEC = {
    usage = "jit -p site.lua [--seconds N] [--worker N]",
    about = [[Tell what LuaJIT compiled in a worker that serves, and where it gave up, with the
        reason: a hook that is not compiled runs many times slower. It is watched for some seconds,
        so there must be requests meanwhile. What was given up for good before is told only when
        the site counts from its start: lua = { jit_report = true }; then --seconds 0 tells all.

        Exit status: 0 nothing of the site was given up, 1 something was, 2 wrong usage.]],
    site = "needed",
    options = {
        { "seconds", value = "N", doc = "how long to watch, up to 600", default = "10" },
        { "worker", value = "N", doc = "its number; unsaid, the first that serves" },
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

function M.main(argv)
    local opts = args.read(argv, M.SPEC)
    local seconds = tonumber(opts.seconds)
    if not seconds or seconds < 0 or seconds > 600 or seconds % 1 ~= 0 then
        cli.fail("--seconds takes a whole number from 0 to 600")
    end
    cli.connect(opts.site, opts.overrides)
    local status, text = cli.ask(opts.worker, ("jit %d"):format(seconds), seconds + 10)
    if status ~= 0 then cli.fail(text, status == 1 and 1 or 2) end
    if opts.json then
        io.stdout:write(text, "\n")
        return 0
    end
    local report = assert(json.decode(text))
    local places = chosen(report.places, opts.all)
    print_places(report, places)
    return #places > 0 and 1 or 0
end

return M
