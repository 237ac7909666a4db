-- SPDX-License-Identifier: MIT
--
-- capture: reads what `record` wrote: lines of JSON, one for each request or call of the
-- background. A line that is no such thing is counted and passed over, the end of a file that is
-- torn too.

local json = require("rproxy.json")

local M = { VERSION = 1, LINE_MOST = 64 * 1024 * 1024 }

local PIECE = 256 * 1024
local DEPTH = 200

-- ---------------------------------------------------------------- lines

-- Lines of a file and whether each has its end; one that is too long comes as "".
local function lines_of(file)
    local rest, over, ended = "", false, false
    return function()
        while true do
            local at = rest:find("\n", 1, true)
            if at then
                local line = over and "" or rest:sub(1, at - 1)
                rest, over = rest:sub(at + 1), false
                return line, true
            end
            if ended then
                if rest == "" and not over then return nil end
                local line = over and "" or rest
                rest, over = "", false
                return line, false
            end
            local piece = file:read(PIECE)
            if piece then
                if not over and #rest + #piece > M.LINE_MOST then over = true end
                rest = over and piece or rest .. piece
                if over and not piece:find("\n", 1, true) then rest = "" end
            else
                ended = true
            end
        end
    end
end

-- ---------------------------------------------------------------- what a line holds

local function is_list(value)
    return type(value) == "table"
end

local function check_call(call)
    if type(call) ~= "table" or type(call.f) ~= "string" or type(call.a) ~= "string" then
        return false
    end
    if call.e ~= nil and type(call.e) ~= "string" then return false end
    return call.e ~= nil or is_list(call.r)
end

local function check_fields(list)
    if not is_list(list) then return false end
    for _, field in ipairs(list) do
        if type(field) ~= "table" or field[1] == nil or field[2] == nil then return false end
    end
    return true
end

local TEXTS = { "id", "method", "scheme", "host", "version", "remote_ip", "peer_ip" }

local function check_request(request)
    if type(request) ~= "table" or type(request.at) ~= "number" then return false end
    if type(request.method) ~= "string" or request.path == nil then return false end
    for _, name in ipairs(TEXTS) do
        if request[name] ~= nil and type(request[name]) ~= "string" then return false end
    end
    if request.body ~= nil and type(request.body) ~= "table" then return false end
    return check_fields(request.headers)
end

local function check_answer(answer)
    if answer == nil then return true end
    return type(answer) == "table" and type(answer.status) == "number"
        and check_fields(answer.headers) and (answer.body == nil or type(answer.body) == "table")
end

local function check_final(final)
    return type(final) == "table" and type(final.status) == "number"
        and (final.headers == nil or check_fields(final.headers))
end

local function check_seq(seq)
    if seq == nil then return true end
    if type(seq) ~= "table" then return false end
    for _, runs in pairs(seq) do
        if not is_list(runs) then return false end
        for _, run in ipairs(runs) do
            if type(run) ~= "table" or type(run[2]) ~= "number" then return false end
        end
    end
    return true
end

local CHECKS = {}

function CHECKS.request(record)
    if not check_request(record.request) then return "its request" end
    if not check_answer(record.answer) then return "its answer" end
    if not check_final(record.final) then return "its end" end
    if not check_seq(record.seq) then return "its clocks" end
    if not is_list(record.calls) then return "its calls" end
    for _, call in ipairs(record.calls) do
        if not check_call(call) then return "a call" end
    end
end

function CHECKS.background(record)
    if type(record.at) ~= "number" or not check_call(record.call) then return "a call" end
end

local function without_nulls(value)
    for key, item in pairs(value) do
        if item == json.null then value[key] = nil end
    end
    return value
end

--- A line as a record.
--- @return table|nil record, string|nil why
function M.parse(line)
    local record, err = json.decode(line, { max = M.LINE_MOST, depth = DEPTH })
    if type(record) ~= "table" then return nil, err or "no object" end
    if record.v ~= M.VERSION then
        return nil, ("version %s, this program reads %d"):format(tostring(record.v), M.VERSION)
    end
    without_nulls(record)
    if type(record.request) == "table" then without_nulls(record.request) end
    local check = CHECKS[record.kind]
    if not check then return nil, "an unknown kind" end
    local what = check(record)
    if what then return nil, what .. " is broken" end
    return record
end

-- ---------------------------------------------------------------- files

--- Call fn(record, bytes of its line) for each record of a file; true ends it.
--- @param file table  open; is closed
--- @param count table  read, unreadable, torn are added to; why: of the first unreadable line
function M.each(file, count, fn)
    for line, whole in lines_of(file) do
        local record, why
        if line ~= "" or not whole then record, why = M.parse(line) end
        if record then
            count.read = count.read + 1
            if fn(record, #line) then break end
        elseif not whole then
            count.torn = count.torn + 1
        elseif line ~= "" or why then
            count.unreadable = count.unreadable + 1
            count.why = count.why or why
        end
    end
    file:close()
end

--- Numbers for M.each.
function M.counts()
    return { read = 0, unreadable = 0, torn = 0 }
end

return M
