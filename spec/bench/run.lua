-- SPDX-License-Identifier: MIT
--
-- run: measure rproxy beside other proxies and a program that parses nothing, on this machine, in one
-- run.
--
--   luajit spec/bench/run.lua [scenario | group ...] [--rounds=n] [--seconds=n]
--       [--servers=floor,nginx,rproxy] [--rate=requests a second] [--port=21080] [--out=file.json]
--       [--realtime] [--page] [--page-from=file.json]
--
-- The figure that counts is CPU microseconds of the proxy per request: time on the processor of its
-- whole process tree, from schedstat, divided by the count of requests. It moves little on a busy
-- machine, where requests per second and latency move a lot. The proxy has core 0 and one worker; the
-- origin and the load have core 1 (with four cores or more: the rest of them from core 2 on, and two
-- workers have two). Servers take turns round by round; medians are printed, and for each comparison
-- the interval in which the true one lies (stats.lua).
--
-- Groups: main (which is what is run when nothing is named), scale (curves), all. What cannot run here
-- is told and left out. --rate is that of the open loops; without it, it is half of what the slowest of
-- nginx, haproxy and rproxy can do, and for one that is slower than these half of what that one can.
--
-- --realtime lets servers and load go before all other programs (chrt -f 1), for a machine that others
-- work on; these stand still meanwhile, but for the twentieth that the kernel keeps for them.
--
-- --page makes docs/reference/performance.md and its chart anew from what was measured, --page-from
-- from the results of an earlier run and measures nothing.
--
-- Environment: RP_BIN (build/rproxy), BENCH_DIR (build/bench). Results there: latest.json and chart.svg.

package.path = "./?.lua;" .. package.path

local chart = require("spec.bench.chart")
local contest = require("spec.bench.contest")
local json = require("cjson")
local loads = require("spec.bench.loads")
local machine = require("spec.bench.machine")
local page = require("spec.bench.page")
local posix = require("spec.support.posix")
local report = require("spec.bench.report")
local scenarios = require("spec.bench.scenarios")
local servers = require("spec.bench.servers")

local PAGE, PAGE_CHART = "docs/reference/performance.md", "docs/reference/performance.svg"
local TOOLS = { "wrk", "h2load", "taskset", "curl", "nginx", "openssl", "cmp" }
local FAST = { nginx = true, haproxy = true, rproxy = true }

local say = machine.say

local function set_of(text)
    local set = {}
    for name in text:gmatch("[^,]+") do set[name] = true end
    return set
end

local OPTIONS = {
    servers = function(opt, value) opt.servers = set_of(value) end,
    rate = function(opt, value) opt.rate = assert(tonumber(value)) end,
    rounds = function(opt, value) opt.rounds = assert(tonumber(value)) end,
    seconds = function(opt, value) opt.seconds = assert(tonumber(value)) end,
    port = function(_, value) servers.base_port = assert(tonumber(value)) end,
    out = function(opt, value) opt.out = value end,
    realtime = function() machine.realtime = true end,
    page = function(opt) opt.page = true end,
    ["page-from"] = function(opt, value) opt.page_from = value end,
}

local function parse_args(args)
    local opt = { words = {}, out = machine.OUT .. "/latest.json" }
    for _, word in ipairs(args) do
        local key, value = word:match("^%-%-([%w-]+)=?(.*)$")
        if key and OPTIONS[key] then
            OPTIONS[key](opt, value)
        elseif scenarios.knows(word) then
            opt.words[#opt.words + 1] = word
        else
            error(("unknown argument %s; scenarios: %s; groups: main scale single all"):format(word,
                table.concat(scenarios.names { "all", "single" }, " ")), 0)
        end
    end
    if #opt.words == 0 then opt.words = { opt.page and "all" or "main" } end
    return opt
end

local function half(rate)
    return math.max(1000, math.floor(rate / 2 / 1000) * 1000)
end

-- Half of what the slowest of the fast ones does, so that none of them is overloaded; half of their own
-- for the others.
local function find_rates()
    local scenario = scenarios.expand("plain", { rounds = 1 })
    scenario.compare = {}
    local result = contest.run(scenario)
    local least
    for _, e in ipairs(result.entries) do
        if FAST[e.server] then least = math.min(least or math.huge, e.rate) end
    end
    if not least then error("nobody answers", 0) end
    scenarios.rate = half(least)
    for _, e in ipairs(result.entries) do
        if e.rate < least then scenarios.rates[e.server] = half(e.rate) end
    end
end

local function needs_rate(names)
    for _, name in ipairs(names) do
        if scenarios.is_open(name) then return true end
    end
    return false
end

local function measure(opt)
    local all = { date = os.date("!%Y-%m-%d %H:%M UTC"), machine = machine.describe(),
        versions = machine.versions(servers.rproxy_binary()), scenarios = {} }
    local names = scenarios.names(opt.words)
    scenarios.rate = opt.rate or 1000
    say("%s, %d cores, kernel %s", all.machine.cpu, all.machine.cores, all.machine.kernel)
    if needs_rate(names) then
        if not opt.rate then find_rates() end
        say("open loops: %d requests a second", scenarios.rate)
    end
    all.rate = scenarios.rate
    for _, name in ipairs(names) do
        local scenario = scenarios.expand(name, opt)
        say("\n%s: %s (%d rounds of %g s)", name, scenario.about, scenario.rounds, scenario.seconds)
        local result = contest.run(scenario)
        for _, line in ipairs(report.lines(result)) do say("%s", line) end
        all.scenarios[#all.scenarios + 1] = result
        posix.write_file(opt.out, json.encode(all) .. "\n") -- what is there stays, should this end early
    end
    return all
end

local function bars(all)
    local list = {}
    for _, result in ipairs(all.scenarios) do
        if not result.curve then list[#list + 1] = result end
    end
    return chart.svg(list, "CPU microseconds per request (shorter is better)")
end

local function write_page(all)
    posix.write_file(PAGE, page.text(all, posix.read_file(PAGE)))
    posix.write_file(PAGE_CHART, bars(all))
    say("written: %s", PAGE)
end

local function prepare()
    for _, tool in ipairs(TOOLS) do
        if not machine.find_program(tool) then error(tool .. " is needed", 0) end
    end
    os.execute("mkdir -p " .. machine.OUT)
    machine.step_aside()
    servers.nofile()
    servers.make_certificate()
    loads.build()
end

local function main()
    local opt = parse_args(arg)
    if opt.page_from then
        local text = posix.read_file(opt.page_from) or error("cannot read " .. opt.page_from, 0)
        return write_page(json.decode(text))
    end
    prepare()
    servers.start_origin()
    servers.start_sink()
    local began = posix.now()
    local all = measure(opt)
    servers.stop_all()
    posix.write_file(machine.OUT .. "/chart.svg", bars(all))
    say("\nwritten to %s, in %.0f s", opt.out, posix.now() - began)
    if opt.page then write_page(all) end
end

local ok, err = xpcall(main, function(e)
    return type(e) == "string" and not e:find("%.lua:%d") and e or debug.traceback(e)
end)
servers.stop_all()
if not ok then
    io.stderr:write("bench: ", tostring(err), "\n")
    os.exit(1)
end
