-- SPDX-License-Identifier: MIT
--
-- journal: what the hooks of one request decided and changed, in the order in which it happened.
-- Kept only for requests of which somebody asked for it; no other request pays for it.
--
--   journal.want(req, traced)  keep one for this request; traced: with every handler of the phases
--                              to come, and what it applies
--   journal.all(on)            ... traced, for every request that meets a hook, from the first on
--   journal.of(req)            the list of entries so far; nil: none is kept
--   journal.on_end(fn)         fn(req, entries) when a request that has one ends: req can be read
--   journal.lost(req)          entries that found no room
--
-- An entry is a table:
--   instance  label of the instance ("ratelimit#2"), nil: the layer's own
--   index     its number
--   hook      "access" ..
--   kind      "answer": one was made: what = "req:exit" .., status, type, value (body), headers
--             "set" "add" "del": a header: what = "up.x-user", "res.server", value
--             "assign": what = "path", "up.host", "consumer", "upstream", "res.status" .., value
--             "body": another body: what = "req", "res", "req piece" or "res piece", bytes
--             "pick" "exclude": a peer: value, port
--             "verdict": how a handler ended: verdict = "next", "answer" (status), "refuse" (of
--               connections), "error" (value: text); cpu_ns, wait_ns, waits
--   value     text; at most 1 KB of it, then `bytes` is its length
--   calls     of hooks that run for each piece of a body: how many went on in that way (one entry)
--   applied   false: only noted, as the instance is in shadow mode
--
-- How a setter of req, up or res takes part (script/journal.h has the C side): after the ABI call
-- that changes something came back well,
--     if H.notes ~= 0 then journal.note(wrapper, kind, what, value) end
-- and what it would change in Lua it leaves alone if H.notes == journal.ONLY. The wrapper is req
-- itself, self[1] in up and res.

local abi = require("rproxy.abi")

local C, H, host = abi.C, abi.H, abi.host
local rawget, rawset, tonumber, type = rawget, rawset, tonumber, type

local M = {}

local SLOT = 11 -- RP_WRAP_JOURNAL
local TAKEN = 1

--- H.notes of code whose changes are noted and not made.
M.ONLY = 2

M.ENTRIES_MOST = 512
M.VALUE_MOST = 1024
local BYTES_MOST = 256 * 1024 -- of values of one journal

-- enum rp_journal_fn
local END, FAILED, HEADER, BEGIN, CHAIN = 0, 1, 2, 3, 4

local HOOKS = {} -- struct rp_req.phase -> name
for i = 0, tonumber(C.RP_PHASE_COUNT) - 1 do HOOKS[i] = abi.string(C.rp_phase_name(i)) end

local labels = {}

--- The label of an instance by its index in the configuration.
function M.label(index)
    local label = labels[index]
    if not label and index >= 0 and index < H.conf.plugins_n then
        local text = H.conf.plugins[index].label
        label = abi.string(text.ptr, text.len)
        labels[index] = label
    end
    return label
end

--- The site is gone (rproxy.lab): indexes are another one's.
function M.forget_site()
    labels = {}
end

-- ---------------------------------------------------------------- entries

local function cut(journal, entry)
    local value = entry.value
    if value == nil then return end
    if type(value) ~= "string" then value = tostring(value) end
    if #value > M.VALUE_MOST then
        entry.bytes = #value
        value = value:sub(1, M.VALUE_MOST)
    end
    entry.value = value
    journal.bytes = journal.bytes + #value
end

-- A frame is a handler that runs, by its task: what it waits for is taken off its CPU time. Their
-- table is as large as that of tasks, should one end without a word.
local frames = {} -- place of its task -> frame
local PLACES = 2 ^ 18 -- RP_TASKS_MOST: a handle is place + generation * PLACES

--- The frame of the running task; nil: it is no handler of a journal.
local function frame_now()
    local task = C.rp_abi_task_self(H)
    local frame = frames[task % PLACES]
    return frame and frame.task == task and frame or nil
end

-- Hooks that run once for each piece of a body have one entry for all that went on in the same way.
local PIECES = { body_filter = "res piece", request_body = "req piece" }

local function sum_up(journal, entry)
    if not PIECES[entry.hook] or (entry.kind ~= "body" and entry.verdict ~= "next") then
        return false
    end
    local key = ("%s %s %s"):format(entry.kind, entry.hook, tostring(entry.index))
    local sum = journal.sums[key]
    if not sum then
        journal.sums[key], entry.calls = entry, 1
        return false
    end
    sum.calls = sum.calls + 1
    for _, name in ipairs { "bytes", "cpu_ns", "wait_ns", "waits" } do
        if entry[name] then sum[name] = (sum[name] or 0) + entry[name] end
    end
    return true
end

local function begin(wrapper, traced)
    local journal = rawget(wrapper, SLOT)
    if not journal then
        journal = { lost = 0, bytes = 0, traced = false, sums = {} }
        rawset(wrapper, SLOT, journal)
    end
    journal.traced = journal.traced or traced or false
    C.rp_abi_journal_begin(H, wrapper[1], traced or false)
    return journal
end

--- Put an entry into the journal of a wrapper, if it has one. For the layer.
function M.put(wrapper, entry)
    local journal = rawget(wrapper, SLOT)
    if not journal then
        if H.notes ~= M.ONLY and entry.applied ~= false then return end
        journal = begin(wrapper, false) -- the first word of a shadow
    end
    local frame = not entry.hook and frame_now()
    if frame and entry.kind == "answer" then frame.answer = entry end -- also when it is lost
    entry.index = entry.index or (frame and frame.index) or tonumber(C.rp_abi_running(H))
    if entry.index < 0 then entry.index = nil end
    entry.instance = entry.index and M.label(entry.index)
    entry.hook = entry.hook or (frame and frame.hook) or HOOKS[wrapper[1].phase]
    if entry.applied == nil then entry.applied = H.notes ~= M.ONLY end
    if sum_up(journal, entry) then return end
    local is_full = #journal >= M.ENTRIES_MOST or journal.bytes > BYTES_MOST
    local is_weighty = entry.kind == "verdict" or entry.kind == "answer" -- has room of its own
    if is_full and (not is_weighty or #journal >= 2 * M.ENTRIES_MOST) then
        journal.lost = journal.lost + 1
        return
    end
    cut(journal, entry)
    journal[#journal + 1] = entry
    return entry
end

--- Note a change by the running code. Only where H.notes ~= 0.
--- @param wrapper table  of the request
--- @param kind string
--- @param what string
--- @param value any
function M.note(wrapper, kind, what, value)
    return M.put(wrapper, { kind = kind, what = what, value = value })
end

--- ... an answer.
function M.note_answer(wrapper, what, status, kind, body, headers)
    local fields
    for name, value in pairs(headers or {}) do
        fields = fields or {}
        if type(name) == "table" and not name.name then name = tostring(name) end
        local text = type(value) == "table" and not value.name and table.concat(value, ", ")
            or tostring(value)
        fields[type(name) == "table" and name.name or name:lower()] = text
    end
    return M.put(wrapper, { kind = "answer", what = what, status = status, type = kind,
        value = body, headers = fields })
end

--- ... a body: only how much of it.
function M.note_bytes(wrapper, what, n)
    return M.put(wrapper, { kind = "body", what = what, bytes = n })
end

-- ---------------------------------------------------------------- asking for one

--- Keep a journal for this request.
--- phases: all that have a req   yields: no
--- @param req table
--- @param traced boolean|nil  with every handler of the phases to come, and what it applies
--- @return table journal
function M.want(req, traced)
    return begin(req, traced)
end

--- Keep one, traced, for every request that meets a hook.
--- @param on boolean
function M.all(on)
    C.rp_abi_journal_all(H, on)
end

--- The entries so far; nil: no journal is kept.
function M.of(req)
    return rawget(req, SLOT) or nil
end

function M.lost(req)
    local journal = rawget(req, SLOT)
    return journal and journal.lost or 0
end

-- ---------------------------------------------------------------- handlers

-- The place of a task keeps its table for the next one that comes there.
local function open(index, hook, notes)
    local task = C.rp_abi_task_self(H)
    local place = task % PLACES
    local frame = frames[place]
    if not frame then
        frame = {}
        frames[place] = frame
    end
    frame.task, frame.index, frame.hook, frame.was, frame.notes = task, index, hook, H.notes, notes
    frame.wait_ns, frame.waits, frame.first = 0, 0, 1
    frame.ends, frame.answer, frame.entries = nil, nil, nil
    frame.from_ns = C.rp_abi_real_ns()
    H.notes = notes
    return frame
end

-- The verdict of a frame that ends, as an entry.
local function end_of(frame, verdict, entry)
    entry = entry or {}
    entry.kind, entry.verdict, entry.index, entry.hook = "verdict", verdict, frame.index, frame.hook
    entry.wait_ns, entry.waits = frame.wait_ns, frame.waits
    entry.cpu_ns = C.rp_abi_real_ns() - frame.from_ns - frame.wait_ns
    entry.applied = frame.notes ~= M.ONLY
    frame.task = -1
    return entry
end

--- A handler begins. For the layer.
--- @param wrapper table
--- @param index number  of its instance
--- @param hook string
--- @param notes number  H.notes for the time it runs
function M.enter(wrapper, index, hook, notes)
    local journal, frame = rawget(wrapper, SLOT), open(index, hook, notes)
    if journal then frame.first = #journal + 1 end
    return frame
end

--- ... and ends without a word: of a shadow that did nothing, where nobody asked for more.
--- @return boolean left  false: it has to be told
function M.leave_silently(wrapper, frame)
    local journal = rawget(wrapper, SLOT)
    if journal and (journal.traced or #journal >= frame.first) then return false end
    frame.task = -1
    H.notes = frame.was
    return true
end

--- ... and ends: what it comes to is noted.
--- @param verdict string
--- @param entry table|nil  further fields
function M.leave(wrapper, frame, verdict, entry)
    M.put(wrapper, end_of(frame, verdict, entry))
    H.notes = frame.was
end

--- The same for a connection, which has no journal: the entries are in the frame.
function M.enter_conn(index, hook, notes)
    local frame = open(index, hook, notes)
    frame.entries = {}
    return frame
end

function M.leave_conn(frame, verdict)
    H.notes = frame.was
    local entry = end_of(frame, verdict)
    entry.instance = M.label(frame.index)
    return entry
end

--- Note what the running hook of a connection does. Only where H.notes ~= 0.
function M.note_conn(kind, what, value)
    local frame = frame_now()
    local entries = frame and frame.entries
    if not entries or #entries >= 32 then return end
    local entry = { kind = kind, what = what, value = value, applied = H.notes ~= M.ONLY }
    cut({ bytes = 0 }, entry)
    entries[#entries + 1] = entry
end

local function park(frame, why, seconds)
    C.rp_abi_park(H, why, seconds)
    local from = C.rp_abi_real_ns()
    local woken = host.park()
    frame.wait_ns, frame.waits = frame.wait_ns + C.rp_abi_real_ns() - from, frame.waits + 1
    return woken
end

-- ... until frame.ends, loop time, at most: then it raises.
local function park_within(frame, why, seconds)
    if why == "request body" then -- the client's time, bounded by timeouts.body
        local from = C.rp_abi_now(H)
        local woken = park(frame, why, seconds)
        frame.ends = frame.ends + C.rp_abi_now(H) - from
        return woken
    end
    local left = frame.ends - C.rp_abi_now(H)
    local all = seconds < 0 or seconds > left
    local woken = left > 0 and park(frame, why, all and left or seconds)
    if not woken and (all or left <= 0) then
        error("it waited longer than timeouts.hook_wait", 0)
    end
    return woken
end

--- Park the running task as rproxy.task does; it may be a handler. yields: yes
--- @return boolean woken
function M.wait(why, seconds)
    local frame = frame_now()
    if not frame then
        C.rp_abi_park(H, why, seconds)
        return host.park()
    end
    if frame.ends then return park_within(frame, why, seconds) end
    return park(frame, why, seconds)
end

local function last_answer(journal, frame)
    for i = #journal, frame.first, -1 do
        local entry = journal[i]
        if entry.kind == "answer" and entry.index == frame.index and entry.hook == frame.hook then
            return entry
        end
    end
end

--- Has the handler changed anything, or tried to?
function M.has_edits(wrapper, frame)
    local journal = rawget(wrapper, SLOT)
    for i = frame.first, journal and #journal or 0 do
        local entry = journal[i]
        local own = entry.index == frame.index and entry.hook == frame.hook
        if own and entry.kind ~= "answer" and entry.kind ~= "verdict" then return true end
    end
    return false
end

--- The answer that the handler made; nil: none.
function M.answer_of(wrapper, frame)
    local journal = rawget(wrapper, SLOT)
    return frame.answer or (journal and last_answer(journal, frame))
end

-- ---------------------------------------------------------------- traced chains

--- Is this a hook that makes pieces of a body?
function M.makes_pieces(hook)
    return PIECES[hook] ~= nil
end

--- Note the piece that the handler of a frame made.
function M.note_piece(wrapper, frame, piece)
    M.note_bytes(wrapper, PIECES[frame.hook], #piece)
end

local function close(wrapper, frame, result, ...)
    if PIECES[frame.hook] and type(result) == "string" then M.note_piece(wrapper, frame, result) end
    local answer = M.answer_of(wrapper, frame)
    M.leave(wrapper, frame, answer and "answer" or "next", answer and { status = answer.status })
    return result, ...
end

local noting = setmetatable({}, { __mode = "k" })

--- fn, a handler, notes itself. For rproxy.shadow.
function M.notes_itself(fn)
    noting[fn] = true
    return fn
end

local IS_OF_REQUEST = {}
for _, name in pairs(HOOKS) do IS_OF_REQUEST[name] = true end

local function traced(fn, hook, index)
    if noting[fn] or not IS_OF_REQUEST[hook] then return fn end
    return function(req, ...)
        if not rawget(req, SLOT) then return fn(req, ...) end -- log(conn) of a stream
        return close(req, M.enter(req, index, hook, TAKEN), fn(req, ...))
    end
end

-- ---------------------------------------------------------------- called by C

local sinks = {}
local keep_fn = host.journal_keep or function() end -- specs of the layer alone have no C side

--- Have fn(req, entries) called when a request that has a journal ends. It may not wait.
function M.on_end(fn)
    sinks[#sinks + 1] = fn
end

keep_fn(END, function(req)
    local journal = rawget(req, SLOT)
    if not journal then return end
    for _, sink in ipairs(sinks) do
        local ok, err = pcall(sink, req, journal)
        if not ok then require("rproxy.log").error("a journal was not taken", { error = err }) end
    end
end)

keep_fn(FAILED, function(req, index, task, text)
    local frame = frames[task % PLACES]
    if not frame or frame.task ~= task then return end
    local answer = text == nil and M.answer_of(req, frame)
    M.put(req, end_of(frame, text and "error" or "answer", { value = text,
        status = answer and answer.status or nil }))
end)

keep_fn(BEGIN, function(req, told)
    local journal = begin(req, true)
    journal.told = journal.told or told
end)

keep_fn(CHAIN, function(ref)
    return require("rproxy.chain").traced(ref, traced)
end)

--- Have C ask for the text of a response header by fn(req, most). For rproxy.decision.
function M.header_by(fn)
    keep_fn(HEADER, fn)
end

return M
