-- SPDX-License-Identifier: MIT
--
-- coverage: which lines of plugins and sites were run, by a debug hook. Nothing is compiled
-- meanwhile, and hooks have no CPU budget.

local code = require("rproxy.test.code")

local M = {}

local Cover = {}
Cover.__index = Cover

-- ---------------------------------------------------------------- counting

local function count_lines(lines)
    local known = {} -- source -> its counts, or false
    return function(_, line)
        local source = debug.getinfo(2, "S").source
        local counts = known[source]
        if counts == nil then
            counts = code.is_of_site(source) and (lines[source] or {}) or false
            known[source] = counts
            if counts then lines[source] = counts end
        end
        if counts then counts[line] = (counts[line] or 0) + 1 end
    end
end

--- Begin to count.
--- @param t table  rproxy.test: its sites get no CPU budget
function M.start(t)
    local self = setmetatable({ lines = {} }, Cover)
    t.run.budget, t.run.coverage = false, true
    jit.off()
    jit.flush()
    debug.sethook(count_lines(self.lines), "l")
    return self
end

function Cover:stop()
    debug.sethook()
end

-- ---------------------------------------------------------------- lines that could run

local function add_lines(fn, out)
    local util = require("jit.util")
    local info = util.funcinfo(fn)
    for pc = 1, info.bytecodes - 1 do
        local line = util.funcinfo(fn, pc).currentline
        if line and line > 0 then out[line] = true end
    end
    if not info.children then return end
    for n = -1, -1000000000, -1 do
        local child = util.funck(fn, n)
        if not child then return end
        if type(child) == "proto" then add_lines(child, out) end
    end
end

local function lines_of(text, path)
    local fn = load(text, "@" .. path, "t", {})
    local out = {}
    if fn then add_lines(fn, out) end
    -- The line of a function's end is its return, and that of the file no statement.
    local n = 0
    for line in (text .. "\n"):gmatch("([^\n]*)\n") do
        n = n + 1
        if line:find("^%s*end[%s,;)}]*$") or line:find("^%s*}[%s,;)}]*$") then out[n] = nil end
    end
    return out
end

local function read(path)
    local file = io.open(path, "rb")
    if not file then
        local name = path:match("^(plugins/.*)%.lua$") -- built in
        return name and require("rproxy.host").embedded((name:gsub("/init$", ""):gsub("/", ".")))
    end
    local text = file:read("*a")
    file:close()
    return text
end

-- ---------------------------------------------------------------- telling

local function spans(list)
    local out, i = {}, 1
    while i <= #list do
        local last = i
        while list[last + 1] == list[last] + 1 do last = last + 1 end
        out[#out + 1] = last > i and ("%d-%d"):format(list[i], list[last]) or tostring(list[i])
        i = last + 1
    end
    return table.concat(out, ", ")
end

local function one_file(source, counts)
    local path = source:sub(2)
    local text = read(path)
    if not text then return nil end
    local could, missed, hit, all = lines_of(text, path), {}, 0, {}
    for line in pairs(could) do
        all[#all + 1] = line
        if counts[line] then hit = hit + 1 else missed[#missed + 1] = line end
    end
    table.sort(missed)
    table.sort(all)
    return { path = path, hit = hit, total = #all, missed = missed, lines = all, counts = counts }
end

local function write_lcov(files, path)
    local out = {}
    for _, file in ipairs(files) do
        out[#out + 1] = "TN:\nSF:" .. file.path
        for _, line in ipairs(file.lines) do
            out[#out + 1] = ("DA:%d,%d"):format(line, file.counts[line] or 0)
        end
        out[#out + 1] = ("LH:%d\nLF:%d\nend_of_record"):format(file.hit, file.total)
    end
    local handle, err = io.open(path, "wb")
    if not handle then
        io.stderr:write(("rproxy: test: %s: %s\n"):format(path, err))
        return
    end
    handle:write(table.concat(out, "\n"), "\n")
    handle:close()
end

--- Say it: a line for each file, with the lines that were not run.
--- @param path string|nil  write lcov there, too
function Cover:report(path)
    local files = {}
    for source, counts in pairs(self.lines) do files[#files + 1] = one_file(source, counts) end
    table.sort(files, function(a, b) return a.path < b.path end)
    io.stdout:write("\ncoverage by line\n")
    for _, file in ipairs(files) do
        io.stdout:write(("  %5.1f%%  %d/%d  %s%s\n"):format(
            file.total > 0 and file.hit / file.total * 100 or 100, file.hit, file.total,
            code.short(file.path),
            file.missed[1] and "  not run: " .. spans(file.missed) or ""))
    end
    if not files[1] then io.stdout:write("  no line of a plugin or site was run\n") end
    if path then write_lcov(files, path) end
end

return M
