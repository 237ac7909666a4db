-- SPDX-License-Identifier: MIT
--
-- sizes: how long files and functions are, and which prototypes have no comment. A report, no gate.

local function sorted_lengths(items)
    table.sort(items, function(a, b) return a.n < b.n end)
    return items
end

local function report(what, items)
    if #items == 0 then return end
    sorted_lengths(items)
    local function at(q) return items[math.max(1, math.ceil(#items * q))].n end
    local total = 0
    for _, item in ipairs(items) do total = total + item.n end
    print(("%s: %d, %d lines in all; median %d, p90 %d, largest:"):format(
        what, #items, total, at(0.5), at(0.9)))
    for i = #items, math.max(1, #items - 7), -1 do
        print(("    %5d  %s"):format(items[i].n, items[i].name))
    end
end

local function lines_of(path)
    local lines = {}
    for line in io.lines(path) do lines[#lines + 1] = line end
    return lines
end

-- A function's body opens with "{" and closes with "}" in the first column (clang-format's work).
local function functions_of(path, lines, out)
    local open
    for i, line in ipairs(lines) do
        if line == "{" then
            open = i
        elseif open and line:find("^}") then
            local head = open - 1
            while head > 1 and lines[head]:find("^%s") do head = head - 1 end
            local name = lines[head]:match("([%w_]+)%s*%(") or "?"
            out[#out + 1] = { n = i - head + 1, name = path .. ":" .. head .. " " .. name }
            open = nil
        end
    end
end

-- A comment belongs to a prototype when it ends just above it, or above the block of prototypes
-- that the line stands in, or on its line.
local function undocumented_of(path, lines, out)
    local covered = false
    for i, line in ipairs(lines) do
        if line:find("^%s*/%*") or line:find("^ %*") or line:find("%*/%s*$") then
            covered = true
        elseif line == "" then
            covered = false
        elseif line:find("^[%a].*%(") and not line:find("^typedef") and not covered then
            local text, k = line, i
            while not text:find("[;{]") and lines[k + 1] do
                k = k + 1
                text = text .. lines[k]
            end
            if text:find(";") and not text:find("{") and not text:find("/%*") then
                out[#out + 1] = ("    %s:%d %s"):format(path, i, line)
            end
        end
    end
end

local function find(command)
    local paths = {}
    local pipe = assert(io.popen(command))
    for path in pipe:lines() do paths[#paths + 1] = path end
    pipe:close()
    table.sort(paths)
    return paths
end

local files, functions, undocumented = {}, {}, {}
for _, path in ipairs(find("find runtime -name '*.[ch]'")) do
    local lines = lines_of(path)
    files[#files + 1] = { n = #lines, name = path }
    functions_of(path, lines, functions)
    if path:find("%.h$") then undocumented_of(path, lines, undocumented) end
end
local lua_files = {}
for _, path in ipairs(find("find lua plugins -name '*.lua' 2>/dev/null")) do
    lua_files[#lua_files + 1] = { n = #lines_of(path), name = path }
end

report("C files", files)
report("C functions", functions)
report("Lua files", lua_files)
print(("prototypes without a comment: %d"):format(#undocumented))
print(table.concat(undocumented, "\n"))
