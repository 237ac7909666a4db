-- SPDX-License-Identifier: MIT
--
-- aborts: where LuaJIT gives up compiling site code. The requests of a test are repeated until what
-- is hot has been recorded; a place whose recording was aborted and never came to a trace stays
-- interpreted in service too.

local chain = require("rproxy.chain")
local code = require("rproxy.test.code")
local jit_report = require("rproxy.jit_report")
local journal = require("rproxy.journal")
local lab = require("rproxy.lab")

local M = {}

local ROUNDS = 160   -- of the requests: LuaJIT tries a place again and again before it gives it up
local REQUESTS = 400 -- at least so many
local SECONDS = 20   -- at most so long

-- ---------------------------------------------------------------- places

-- Code of the site: what its loader read, and hooks wherever they are written.
local function ranges_of_hooks()
    local ranges = {}
    for _, fn in ipairs(chain.handlers and chain.handlers() or {}) do
        local info = debug.getinfo(fn, "S")
        local list = ranges[info.source] or {}
        list[#list + 1] = { info.linedefined, info.lastlinedefined }
        ranges[info.source] = list
    end
    return ranges
end

local function is_site_code(source, line, ranges)
    if source:find("^@lua/rproxy/") or source:sub(1, 1) ~= "@" then return false end
    if code.is_of_site(source) then return true end
    for _, range in ipairs(ranges[source] or {}) do
        if line >= range[1] and line <= range[2] then return true end
    end
    return false
end

local function place_of(func, pc)
    local info = require("jit.util").funcinfo(func, pc)
    if not info.source then return nil, nil end -- a function of C
    return info.source, info.currentline or info.linedefined
end

-- ---------------------------------------------------------------- reasons

-- Said of a place that is tried from elsewhere, too: as a part of its caller's trace, from the loop
-- inside or the one outside. What is in the way says so by another reason.
local SOFT = { "^NYI: return to lower frame", "^leaving loop", "^inner loop", "unroll limit",
    "^blacklisted", "^retry recording", "^down%-recursion" }

local function is_soft(reason)
    for _, pattern in ipairs(SOFT) do
        if reason:find(pattern) then return true end
    end
    return false
end

-- ---------------------------------------------------------------- watching

local function watcher()
    local starts, now = {}, nil -- by place of a start: what became of it
    local function note(what, tr, func, pc, otr, oex)
        if what == "start" then
            local key = otr and ("%s/%s"):format(otr, oex)
                or ("%s:%s"):format(tostring(func), tostring(pc))
            now = starts[key] or { source = nil }
            now.source, now.line = place_of(func, pc)
            starts[key] = now
        elseif what == "stop" and now then
            now.compiled, now = true, nil
        elseif what == "abort" and now then
            local reason = jit_report.reason(otr, oex)
            if not is_soft(reason) then
                now.at_source, now.at_line = place_of(func, pc)
                now.reason, now.times = reason, (now.times or 0) + 1
            end
            now = nil
        elseif what == "flush" then
            starts = {}
        end
        return tr
    end
    return note, function() return starts end
end

local function told(starts, ranges)
    local lines, seen = {}, {}
    for _, one in pairs(starts) do
        if one.reason and one.times > 1 and not one.compiled then -- once may be by chance
            local source, line = one.at_source, one.at_line
            if not (source and is_site_code(source, line, ranges)) then
                source, line = one.source, one.line
            end
            if source and is_site_code(source, line, ranges) then
                local text = ("%s:%d: %s"):format(code.short(source:sub(2)), line, one.reason)
                if not seen[text] then lines[#lines + 1] = text end
                seen[text] = true
            end
        end
    end
    table.sort(lines)
    return lines
end

-- ---------------------------------------------------------------- repeating

local function repeat_once(site, asked)
    for _, one in ipairs(asked) do
        if one.seconds then lab.clock:advance(one.seconds)
        else pcall(site.lab.request, site.lab, one.ask) end
    end
end

--- What was never compiled, "file:line: why" each.
--- @param site table  of t.site
function M.of(site)
    local asked, requests = {}, 0
    for i, one in ipairs(site.asked) do
        asked[i] = one
        if one.ask then requests = requests + 1 end
    end
    if requests == 0 then error("no request was made: there is nothing to repeat", 0) end
    local note, starts = watcher()
    local rounds, ends = math.max(ROUNDS, math.ceil(REQUESTS / requests)), os.clock() + SECONDS
    journal.all(false) -- what is noted runs by other chains
    jit.on()
    jit.flush()
    jit.opt.start("hotloop=10", "hotexit=3")
    jit.attach(note, "trace")
    for _ = 1, rounds do
        repeat_once(site, asked)
        if os.clock() > ends then break end
    end
    jit.attach(note)
    jit.opt.start("hotloop=56", "hotexit=10")
    jit.off()
    jit.flush()
    journal.all(true)
    return told(starts(), ranges_of_hooks())
end

return M
