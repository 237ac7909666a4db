-- SPDX-License-Identifier: MIT
--
-- jit_report: what LuaJIT compiles in this worker, and where it gives up, by line. Watching costs
-- something when a trace is recorded, and nothing in what is compiled already.

local json = require("rproxy.json")
local task = require("rproxy.task")
local time = require("rproxy.time")

local M = {}

local PLACES_MOST = 1000
local SECONDS_MOST = 600

local watching -- { since, traces, aborts, flushes, by_key, list, started }

-- ---------------------------------------------------------------- words

local function place_of(func, pc)
    local info = require("jit.util").funcinfo(func, pc)
    if not info.source then return "a function of C" end
    return ("%s:%d"):format(info.source:gsub("^[@=]", ""), info.currentline or info.linedefined)
end

local words -- of this LuaJIT; false: they were not there when rproxy was built

--- Why a recording ended: LuaJIT's own words for its numbers.
--- @param code number
--- @param what any
--- @return string
function M.reason(code, what)
    if words == nil then
        local found, module = pcall(require, "rproxy.vmdef")
        words = found and module
    end
    if not words or type(code) ~= "number" then return "abort " .. tostring(code) end
    local text = words.traceerr[code] or "abort " .. code
    if type(what) == "function" then
        local info = require("jit.util").funcinfo(what)
        what = info.ffid and words.ffnames[info.ffid] or info.loc or "a function"
    elseif type(what) == "number" and text:find("bytecode", 1, true) then
        what = words.bcnames:sub(what * 6 + 1, what * 6 + 6):gsub("%s+$", "")
    end
    return (text:gsub("%%%a", function() return tostring(what) end))
end

-- ---------------------------------------------------------------- watching

local function count_abort(at, from, reason)
    local w = watching
    local key = at .. "\0" .. from .. "\0" .. reason
    local entry = w.by_key[key]
    if not entry then
        if #w.list == PLACES_MOST then return end
        entry = { at = at, from = from, reason = reason, n = 0 }
        w.by_key[key] = entry
        w.list[#w.list + 1] = entry
    end
    entry.n = entry.n + 1
end

-- LuaJIT calls this for each event of a trace.
local function note(what, _, func, pc, code, arg)
    local w = watching
    if not w then return end
    if what == "start" then
        w.started = place_of(func, pc)
    elseif what == "stop" then
        w.traces = w.traces + 1
    elseif what == "abort" then
        w.aborts = w.aborts + 1
        count_abort(place_of(func, pc), w.started or "?", M.reason(code, arg))
    elseif what == "flush" then
        w.flushes = w.flushes + 1
    end
end

--- Begin to count; what was counted before is forgotten.
function M.start()
    watching = { since = time.time(), traces = 0, aborts = 0, flushes = 0, by_key = {}, list = {} }
    jit.attach(note, "trace")
end

function M.stop()
    jit.attach(note)
    watching = nil
end

--- What was counted: since, traces, aborts, flushes, and places { at, from, reason, n }, the most
--- frequent first. nil, "off": nobody counts.
--- phases: all   yields: no
--- @return table|nil report, string|nil err
function M.report()
    local w = watching
    if not w then return nil, "off" end
    local places = {}
    for i, entry in ipairs(w.list) do
        places[i] = { at = entry.at, from = entry.from, reason = entry.reason, n = entry.n }
    end
    table.sort(places, function(a, b)
        if a.n ~= b.n then return a.n > b.n end
        return a.at .. a.reason < b.at .. b.reason
    end)
    return { since = w.since, traces = w.traces, aborts = w.aborts, flushes = w.flushes,
        is_on = jit.status() == true, places = json.array(places) }
end

--- For rproxy.ask.
--- yields: yes
--- @param seconds number  0: what lua.jit_report has counted
--- @return number status, string text
function M.answer(seconds)
    if seconds < 0 or seconds > SECONDS_MOST then return 2, "at most 600 seconds" end
    local was_on = watching ~= nil
    if seconds == 0 and not was_on then
        return 1, "nothing is counted: write lua = { jit_report = true }, or give --seconds"
    end
    if not was_on then M.start() end
    if seconds > 0 then task.sleep(seconds) end
    local report = M.report()
    if not was_on then M.stop() end
    while true do -- what fits in one message
        local text = assert(json.encode(report, { sort = true, invalid = "replace" }))
        if #text < 30000 then return 0, text end
        for _ = 1, math.ceil(#report.places / 4) do table.remove(report.places) end
        report.cut = true
    end
end

return M
