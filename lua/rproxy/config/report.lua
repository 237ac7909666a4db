-- SPDX-License-Identifier: MIT
--
-- report: the mistakes of one configuration, each with its place, as one text.

local M = {}

local MOST = 20

local Report = {}
Report.__index = Report

--- An empty report.
function M.new()
    return setmetatable({ lines = {}, seen = {} }, Report)
end

--- Note a mistake; the same line twice counts once.
--- @param at string  "file:line"
--- @param fmt string  "what is wrong; what to do"
function Report:add(at, fmt, ...)
    local text = select("#", ...) > 0 and fmt:format(...) or fmt
    local line = ("%s: %s"):format(at, text)
    if self.seen[line] then return end
    self.seen[line] = true
    local file, number = at:match("^(.*):(%d+)$")
    self.lines[#self.lines + 1] = { text = line, file = file or at, number = tonumber(number) or 0,
        n = #self.lines }
end

--- Note what a schema check found.
--- @param at string|function  the place, or (path) -> place
--- @param ctx table
--- @param prefix string|nil  what stands before the paths
function Report:add_context(at, ctx, prefix)
    for _, e in ipairs(ctx.errors) do
        local place = type(at) == "function" and at(e.path) or at
        local path = (prefix or "") .. (prefix and e.path ~= "" and "." or "") .. e.path
        self:add(place, "%s", path == "" and e.text or path .. ": " .. e.text)
    end
end

function Report:is_empty()
    return #self.lines == 0
end

local function comes_before(a, b)
    if a.file ~= b.file then return a.file < b.file end
    if a.number ~= b.number then return a.number < b.number end
    return a.n < b.n
end

--- One mistake per line in the order of the file, at most 20.
function Report:text()
    local out = {}
    table.sort(self.lines, comes_before)
    for i = 1, math.min(#self.lines, MOST) do out[i] = self.lines[i].text end
    if #self.lines > MOST then out[MOST + 1] = ("... and %d more"):format(#self.lines - MOST) end
    return table.concat(out, "\n")
end

return M
