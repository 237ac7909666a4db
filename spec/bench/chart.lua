-- SPDX-License-Identifier: MIT
--
-- chart: bars of CPU time per request, by server, a panel per scenario, as SVG. Pure.
--
-- Panels have scales of their own, as a handshake costs twenty times what a kept connection does. There
-- is no background, and all colours are readable on light and on dark ones.

local report = require("spec.bench.report")

local M = {}

local COLUMNS = 2
local PANEL_WIDTH, GAP = 430, 24
local TITLE, BAR, STEP, FOOT = 26, 14, 20, 16
local NAME_WIDTH, VALUE_WIDTH = 122, 62
local TOP = 44
local SUBTITLE = 92

local STYLE = [[
<style>
text { font: 12px system-ui, sans-serif; fill: #737b84; }
.h { font-size: 14px; font-weight: 600; }
.t { font-size: 16px; font-weight: 600; }
.o { fill: #7d8ca0; }
.f { fill: #7d8ca0; fill-opacity: 0.5; }
.r { fill: #d9730d; }
</style>]]

local ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local function escape(text)
    return (text:gsub('[&<>"]', ESCAPES))
end

local CLASSES = { rproxy = "r", floor = "f" }

local function bar(x, y, e, longest)
    local room = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH
    local width = math.max(1, e.cpu_us / longest * room)
    return ('<text x="%d" y="%d" text-anchor="end">%s</text>'
        .. '<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" class="%s"/>'
        .. '<text x="%.1f" y="%d">%s</text>'):format(x + NAME_WIDTH - 8, y + 11,
        escape(e.name), x + NAME_WIDTH, y, width, BAR, CLASSES[e.server] or "o",
        x + NAME_WIDTH + width + 6, y + 11, report.time(e.cpu_us))
end

local function panel(x, y, scenario)
    local longest = 0
    for _, e in ipairs(scenario.entries) do longest = math.max(longest, e.cpu_us) end
    local out = { ('<text x="%d" y="%d" class="h">%s</text>'):format(x, y + 14,
        escape(scenario.name)),
        ('<text x="%d" y="%d">%s</text>'):format(x + SUBTITLE, y + 14, escape(scenario.about)) }
    for i, e in ipairs(scenario.entries) do
        out[#out + 1] = bar(x, y + TITLE + (i - 1) * STEP, e, longest)
    end
    return table.concat(out, "\n"), TITLE + #scenario.entries * STEP + FOOT
end

--- The SVG of a list of results (contest.run); those without entries are left out.
function M.svg(results, title)
    local out, heights = {}, {}
    for i = 1, COLUMNS do heights[i] = TOP end
    for _, scenario in ipairs(results) do
        if #scenario.entries > 0 then
            local column = 1
            for i = 2, COLUMNS do
                if heights[i] < heights[column] then column = i end
            end
            local x = (column - 1) * (PANEL_WIDTH + GAP)
            local text, height = panel(x, heights[column], scenario)
            out[#out + 1] = text
            heights[column] = heights[column] + height
        end
    end
    local width = COLUMNS * PANEL_WIDTH + (COLUMNS - 1) * GAP
    local height = math.max(unpack(heights))
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
        .. 'role="img">\n<title>%s</title>\n%s\n<text x="0" y="18" class="t">%s</text>\n%s\n</svg>\n')
        :format(width, height, width, height, escape(title), STYLE, escape(title),
        table.concat(out, "\n"))
end

return M
