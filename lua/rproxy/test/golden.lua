-- SPDX-License-Identifier: MIT
--
-- golden: values that are kept as text beside the spec and compared with it.

local M = {}

-- ---------------------------------------------------------------- decisions

-- What differs from run to run says nothing about a decision.
local function line_of(entry)
    -- The line on which hooks are written is not what is decided.
    local name = (entry.instance or "-"):gsub("^(inline)@.-(#?%d*)$", "%1")
    local words = { entry.hook or "-", name, entry.kind }
    local function add(word) if word ~= nil then words[#words + 1] = tostring(word) end end
    if entry.kind == "verdict" then
        add(entry.verdict)
        add(entry.status)
    elseif entry.kind == "answer" then
        add(entry.status)
        if entry.value then add(("%q"):format(entry.value)) end
    else
        add(entry.what)
        if entry.value ~= nil then add(("%q"):format(tostring(entry.value))) end
        if entry.bytes then add(entry.bytes .. " bytes") end
    end
    if entry.applied == false then add("(shadow)") end
    return (table.concat(words, " "):gsub("\\\n", "\\n"))
end

--- A journal as text, a line for each entry.
function M.decisions(journal)
    local lines = {}
    for i, entry in ipairs(journal or {}) do lines[i] = line_of(entry) end
    return table.concat(lines, "\n") .. (lines[1] and "\n" or "")
end

local function is_journal(value)
    return type(value) == "table" and type(value[1]) == "table" and value[1].kind ~= nil
        and value[1].hook ~= nil
end

-- ---------------------------------------------------------------- text of values

local function show(value, indent)
    if type(value) == "string" then return (("%q"):format(value):gsub("\\\n", "\\n")) end
    if type(value) ~= "table" then return tostring(value) end
    local keys, out, deeper = {}, {}, indent .. "  "
    for key in pairs(value) do keys[#keys + 1] = key end
    table.sort(keys, function(a, b)
        if type(a) == type(b) and type(a) ~= "table" then return a < b end
        return tostring(a) < tostring(b)
    end)
    for _, key in ipairs(keys) do
        local name = type(key) == "string" and key or "[" .. tostring(key) .. "]"
        out[#out + 1] = deeper .. name .. " = " .. show(value[key], deeper)
    end
    if not out[1] then return "{}" end
    return "{\n" .. table.concat(out, "\n") .. "\n" .. indent .. "}"
end

--- @return string
function M.text(value)
    if type(value) == "string" then return value end
    if is_journal(value) then return M.decisions(value) end
    return show(value, "") .. "\n"
end

-- ---------------------------------------------------------------- files

local function read(path)
    local file = io.open(path, "rb")
    if not file then return nil end
    local text = file:read("*a")
    file:close()
    return text
end

local function write(path, text)
    local folder = path:match("^(.*)/")
    require("lfs").mkdir(folder)
    local file, err = io.open(path, "wb")
    if not file then return nil, err end
    file:write(text)
    return file:close()
end

-- The first line that differs, for people.
local function difference(is, was)
    local n, a, b = 0, (was .. "\n"):gmatch("([^\n]*)\n"), (is .. "\n"):gmatch("([^\n]*)\n")
    while true do
        n = n + 1
        local expected, got = a(), b()
        if expected ~= got then
            return ("line %d\n  expected: %s\n  got:      %s"):format(n, expected or "(no line)",
                got or "(no line)")
        end
        if expected == nil then return "nothing" end
    end
end

--- @param name string
--- @param at string  "file:line" of the spec
--- @return boolean ok, string|nil what
function M.check(name, value, at, update)
    if type(name) ~= "string" or not name:find("^[%w_.-]+$") then
        return false, "t.golden takes a name of letters, digits, . _ and -"
    end
    local spec = at:match("^(.*):%d+$") or at
    local path = spec:gsub("%.lua$", "") .. ".golden/" .. name .. ".txt"
    local text, was = M.text(value), read(path)
    if update then
        if text == was then return true end
        local ok, err = write(path, text)
        return ok or false, not ok and ("cannot write %s: %s"):format(path, err) or nil
    end
    if was == nil then
        return false, ("%s is not there: keep it by rproxy test --update-golden. It would be:\n%s")
            :format(path, text)
    end
    if was == text then return true end
    return false, ("%s differs in %s\nIf that is meant: rproxy test --update-golden"):format(path,
        difference(text, was))
end

return M
