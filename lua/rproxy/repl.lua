-- SPDX-License-Identifier: MIT
--
-- repl: lines that a person runs in a worker (`rproxy repl`): in the globals of sites, with rp, and
-- what is assigned lives as long as the session. There is no request. A line may wait; it runs
-- under lua.cpu_budget like every task, and ends after a minute.

local loader = require("rproxy.loader")
local task = require("rproxy.task")

local M = {}

local SECONDS = 60
local DEPTH, ITEMS, BYTES = 5, 100, 4096 -- of what is shown

-- ---------------------------------------------------------------- showing

local show

local function quoted(text)
    local cut = #text > BYTES and (" ... (%d bytes)"):format(#text) or ""
    return '"' .. text:sub(1, BYTES):gsub('[%c"\\\127-\255]', function(ch)
        if ch == "\n" then return "\\n" elseif ch == '"' or ch == "\\" then return "\\" .. ch end
        return ch:byte() > 127 and ch or ("\\%03d"):format(ch:byte())
    end) .. '"' .. cut
end

local function key_text(key)
    if type(key) == "string" and key:find("^[%a_][%w_]*$") then return key end
    return "[" .. show(key, DEPTH) .. "]"
end

-- List first, then names in order; numbers and others after them.
local function keys_of(value)
    local names, others, n = {}, {}, #value
    for key in next, value do
        if type(key) == "string" then
            names[#names + 1] = key
        elseif not (type(key) == "number" and key >= 1 and key <= n and key % 1 == 0) then
            others[#others + 1] = key
        end
    end
    table.sort(names)
    for _, key in ipairs(others) do names[#names + 1] = key end
    return names, n
end

local function show_table(value, depth, seen)
    if seen[value] then return "(itself)" end
    if depth >= DEPTH then return "{ ... }" end
    seen[value] = true
    local out = {}
    local names, n = keys_of(value)
    for i = 1, math.min(n, ITEMS) do out[i] = show(rawget(value, i), depth + 1, seen) end
    for i = 1, math.min(#names, ITEMS - #out) do
        out[#out + 1] = ("%s = %s"):format(key_text(names[i]),
            show(rawget(value, names[i]), depth + 1, seen))
    end
    if n + #names > #out then out[#out + 1] = ("... %d more"):format(n + #names - #out) end
    seen[value] = nil
    local line = table.concat(out, ", ")
    if line == "" then return "{}" end
    if #line < 78 and not line:find("\n", 1, true) then return "{ " .. line .. " }" end
    local indent = ("  "):rep(depth + 1)
    return "{\n" .. indent .. table.concat(out, ",\n" .. indent) .. "\n" .. ("  "):rep(depth) .. "}"
end

--- A value as a person reads it.
function show(value, depth, seen)
    local kind = type(value)
    if kind == "string" then return quoted(value) end
    if kind ~= "table" then return tostring(value) end
    local meta = debug.getmetatable(value)
    if meta and rawget(meta, "__tostring") then return tostring(value) end
    return show_table(value, depth or 0, seen or {})
end
M.show = show

-- ---------------------------------------------------------------- sessions

local current -- { id, env, printed }

local function session_of(id)
    if current and current.id == id then return current end
    local session = { id = id, env = loader.session_env(), printed = {} }
    function session.env.print(...)
        local words = {}
        for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
        session.printed[#session.printed + 1] = table.concat(words, "\t")
    end
    current = session
    return session
end

--- Forget what was assigned.
function M.close()
    current = nil
end

local function is_unfinished(err)
    return err:find("near '<eof>'$") ~= nil
end

-- "x" is asked for as "return x", then as it stands.
local function compile(text, env)
    local chunk, err = loader.line("return " .. text, env)
    if not chunk then chunk, err = loader.line(text, env) end
    -- Interpreted: an endless loop can be stopped there; a compiled one costs the worker.
    if chunk then jit.off(chunk, true) end
    return chunk, err
end

local function lines_of(session, results)
    local out = session.printed
    session.printed = {}
    for i = 2, results.n do out[#out + 1] = show(results[i]) end
    return table.concat(out, "\n")
end

local function packed(...)
    return { n = select("#", ...), ... }
end

--- Run a line.
--- yields: yes
--- @param id string  of the session
--- @param text string
--- @return number status  0; 1: it failed; 3: it goes on in a next line
--- @return string text
function M.line(id, text)
    local session = session_of(id)
    local chunk, err = compile(text, session.env)
    if not chunk then return is_unfinished(err) and 3 or 1, err end
    local ok
    local run = task.spawn(function() ok = packed(xpcall(chunk, debug.traceback)) end)
    local ended, why = run:wait(SECONDS)
    if not ended then run:cancel() end
    ok = ok or packed(false, why == "timeout" and ("not done after %d seconds"):format(SECONDS)
        or why == "cancelled" and "stopped: it took more than lua.cpu_budget, or more memory than "
            .. "lua.heap; see the error log" or tostring(why))
    if not ok[1] then
        local message = tostring(ok[2]):gsub("\nstack traceback:\n.*", "")
        local said = lines_of(session, { n = 1 })
        return 1, said ~= "" and said .. "\n" .. message or message
    end
    if ok[2] ~= nil then session.env._ = ok[2] end
    return 0, lines_of(session, ok)
end

return M
