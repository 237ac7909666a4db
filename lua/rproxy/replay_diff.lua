-- SPDX-License-Identifier: MIT
--
-- replay_diff: what is different between what became of a request when it was recorded and now. A
-- difference: { kind, text, old, new }; those of one text are one group in the report.

local values = require("rproxy.tape_value")

local M = {}

local MARK = "redacted%-%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x"

-- Headers that the core writes by the length of a body, or by its own clock.
local NOT_COMPARED = { ["content-length"] = true, ["transfer-encoding"] = true, date = true,
    connection = true, via = true }

local function text_of(packed)
    if packed == nil then return nil end
    local ok, value = pcall(values.unpack, packed)
    if not ok or value == nil then return nil end
    return tostring(value)
end

--- Is it the same? Where the old text has marks of redacted secrets the new one may have anything.
function M.same(old, new)
    if old == new then return true end
    if type(old) ~= "string" or type(new) ~= "string" or not old:find(MARK) then return false end
    local first, last = old:find(MARK)
    if new:sub(1, first - 1) ~= old:sub(1, first - 1) then return false end
    local at = first -- in new: what stands before it is found
    while true do -- each text between two marks at the first place where it is: no going back
        local from = last + 1
        first, last = old:find(MARK, from)
        if not first then
            local rest = old:sub(from)
            return #new - #rest >= at - 1 and new:sub(#new - #rest + 1) == rest
        end
        local plain = old:sub(from, first - 1)
        local found = new:find(plain, at, true)
        if not found then return false end
        at = found + #plain
    end
end

local function by_name(fields)
    local out = {}
    for _, field in ipairs(fields or {}) do
        local name = text_of(field[1]):lower()
        out[name] = out[name] or {}
        table.insert(out[name], text_of(field[2]) or "")
    end
    return out
end

local function names_of(a, b)
    local seen, names = {}, {}
    for _, map in ipairs { a, b } do
        for name in pairs(map) do
            if not seen[name] then names[#names + 1] = name end
            seen[name] = true
        end
    end
    table.sort(names)
    return names
end

local function compare_fields(out, what, old, new)
    old, new = by_name(old), by_name(new)
    for _, name in ipairs(names_of(old, new)) do
        local a, b = old[name], new[name]
        local was, is = a and table.concat(a, ", "), b and table.concat(b, ", ")
        if not NOT_COMPARED[name] and not M.same(was, is) then
            local how = not was and "added" or not is and "removed" or "changed"
            out[#out + 1] = { kind = what, text = ("%s %s %s"):format(what, name, how), old = was,
                new = is }
        end
    end
end

-- ---------------------------------------------------------------- who answered

-- Hooks without a name are called by their place in a file, which says nothing about what they do.
local function named(instance)
    if type(instance) ~= "string" then return "a hook" end
    return instance:find("^inline@") and "an inline hook" or instance
end

local function decisions_of(outcome)
    if type(outcome.decisions) ~= "table" then return {} end
    local ok, list = pcall(values.unpack, outcome.decisions)
    if not ok or type(list) ~= "table" then return {} end
    local out = {}
    for _, entry in ipairs(list) do
        if type(entry) == "table" then out[#out + 1] = entry end
    end
    return out
end

local function last_answer(decisions)
    for i = #decisions, 1, -1 do
        local entry = decisions[i]
        if entry.kind == "answer" and entry.applied ~= false then
            return entry
        end
    end
end

local function upstream_name(outcome)
    local up = outcome.upstream
    return type(up) == "table" and type(up.name) == "string" and up.name or nil
end

--- "200 from upstream api", "403 by acl", "404 by rproxy: no route".
function M.verdict(outcome, decisions)
    local final = outcome.final
    if final.from == "upstream" then
        return ("%d from upstream %s"):format(final.status, upstream_name(outcome) or "?")
    end
    local answer = last_answer(decisions or decisions_of(outcome))
    if final.from == "plugin" and answer then
        return ("%d by %s"):format(final.status, named(answer.instance)), answer
    end
    local why = type(final.fail) == "string" and ": " .. final.fail or ""
    return ("%d by rproxy%s"):format(final.status, why)
end

-- ---------------------------------------------------------------- all

local function compare_text(out, kind, old, new)
    old, new = text_of(old), text_of(new)
    if M.same(old, new) then return end
    local text = ("%s %s -> %s"):format(kind, old or "none", new or "none")
    out[#out + 1] = { kind = kind, text = text, old = old, new = new }
end

local function compare_sent(out, old, new)
    if type(old) ~= "table" or type(new) ~= "table" then return end
    for _, name in ipairs { "path", "host" } do
        local was, is = text_of(old[name]), text_of(new[name])
        if not M.same(was, is) then
            local text = "sent " .. name .. " changed"
            out[#out + 1] = { kind = "sent", text = text, old = was, new = is }
        end
    end
    compare_fields(out, "sent header", old.headers, new.headers)
end

local function errors_of(decisions)
    local set = {}
    for _, entry in ipairs(decisions) do
        if entry.verdict == "error" then
            set[("%s raised in %s"):format(named(entry.instance), tostring(entry.hook))] =
                tostring(entry.value)
        end
    end
    return set
end

local function compare_errors(out, old, new)
    local was, is = errors_of(old), errors_of(new)
    for _, name in ipairs(names_of(was, is)) do
        if not was[name] then
            out[#out + 1] = { kind = "error", text = name, new = is[name] }
        elseif not is[name] then
            out[#out + 1] = { kind = "error", text = name:gsub(" raised ", " no longer raises ", 1),
                old = was[name] }
        end
    end
end

local function body_edits(decisions)
    local list = {}
    for _, entry in ipairs(decisions) do
        if entry.kind == "body" and entry.applied ~= false then
            list[#list + 1] = ("%s by %s: %s bytes"):format(tostring(entry.what),
                named(entry.instance), tostring(entry.bytes))
        end
    end
    return table.concat(list, "; ")
end

--- Differences between two outcomes.
--- @param old table  of the record
--- @param new table  of the replay
--- @param how table  stand_in: the upstream's answer was not recorded; bodies: they were, whole;
---   failed: the upstream gave none
--- @return table[] differences, table old_decisions, table new_decisions
function M.compare(old, new, how)
    local out = {}
    local was, is = decisions_of(old), decisions_of(new)
    compare_text(out, "route", old.route, new.route)
    local old_verdict, old_answer = M.verdict(old, was)
    local new_verdict, new_answer = M.verdict(new, is)
    if how.stand_in then
        new_verdict = ("goes to upstream %s, whose answer is not known"):format(
            upstream_name(new) or "?")
    end
    -- A failing upstream is played by one that fails in some way.
    if how.failed and new.final.from == "core" and new.final.fail and new.final.status >= 502 then
        new_verdict = old_verdict
    end
    if old_verdict ~= new_verdict then
        local text = ("answer %s -> %s"):format(old_verdict, new_verdict)
        out[#out + 1] = { kind = "answer", text = text, old = old_verdict, new = new_verdict }
    end
    if old.final.from == new.final.from then
        compare_text(out, "upstream", upstream_name(old), upstream_name(new))
    end
    compare_text(out, "consumer", old.consumer, new.consumer)
    compare_sent(out, old.sent, new.sent)
    if not how.stand_in and old_verdict == new_verdict then
        compare_fields(out, "response header", old.final.headers, new.final.headers)
        if old_answer and new_answer and not M.same(old_answer.value, new_answer.value) then
            out[#out + 1] = { kind = "answer body", text = "answer body changed",
                old = old_answer.value, new = new_answer.value }
        end
        if how.bodies and body_edits(was) ~= body_edits(is) then
            out[#out + 1] = { kind = "body", text = "edits of bodies changed",
                old = body_edits(was), new = body_edits(is) }
        end
    end
    compare_errors(out, was, is)
    return out, was, is
end

return M
