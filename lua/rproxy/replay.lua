-- SPDX-License-Identifier: MIT
--
-- replay: runs a site in a lab over requests that were recorded, and compares what becomes of
-- them. Calls of hooks are answered by the records (replay_player, by the tape), upstreams by the
-- recorded answers. Nothing reaches the world.
--
-- The tape has to be there before any code of a site is loaded: M.open does it, once in a VM.

local capture = require("rproxy.capture")
local diff = require("rproxy.replay_diff")
local player = require("rproxy.replay_player")
local redact = require("rproxy.record_redact")
local tape = require("rproxy.tape")
local values = require("rproxy.tape_value")

local M = {}

local STAND_IN = "an answer that was not recorded\n"
local FILL_MOST = 8 * 1024 * 1024
local ADVANCE_MOST = 86400

local PLAIN = { scrub = function(s) return s end, header = function(_, _, value) return value end }

local now_playing -- { player, record, outcome, overlay } of the request under way

-- ---------------------------------------------------------------- what hooks see of it

local covered = setmetatable({}, { __mode = "k" })

-- Facts that the lab cannot have: the request's id, its connection's TLS.
local function cover(object, facts)
    local meta = debug.getmetatable(object)
    if covered[meta] then return end
    covered[meta] = true
    local index = meta.__index
    meta.__index = function(self, key)
        local known = now_playing and facts(now_playing)
        if known and known[key] ~= nil then return known[key] end
        return index(self, key)
    end
end

local function early(req)
    if not now_playing then return end
    cover(req, function(playing) return playing.req_facts end)
    cover(req.conn, function(playing) return playing.conn_facts end)
    now_playing.slot = req[1].slot
    tape.put(now_playing.slot, now_playing.player)
end

--- Hooks of the instances that stand around those of the site.
M.OUTER = { early = early }
M.INNER = {}

local function on_end(req, entries)
    local playing = now_playing
    if not playing or playing.slot ~= req[1].slot then return end
    local record = require("rproxy.record")
    tape.put(playing.slot, nil)
    local secrets = PLAIN
    if playing.player.scrub then
        local scrub = playing.player.scrub
        secrets = { scrub = scrub, header = function(_, _, value) return scrub(value) end }
    end
    playing.outcome = record.outcome(req, record.decisions(entries), secrets)
end

-- ---------------------------------------------------------------- the request again

local function plain(packed, scrub)
    if packed == nil then return nil end
    return values.unpack(packed, scrub)
end

local FRAMING = { ["content-length"] = true, ["transfer-encoding"] = true, expect = true,
    connection = true, ["keep-alive"] = true, ["proxy-connection"] = true, te = true,
    upgrade = true, ["http2-settings"] = true }

local function field(request, name)
    for _, pair in ipairs(request.headers) do
        local known = plain(pair[1])
        if known:lower() == name then return plain(pair[2]) end
    end
end

--- Why a record cannot be replayed; nil: it can.
function M.refusal(record)
    local request = record.request
    if request.method == "CONNECT" then return "tunnels (CONNECT)" end
    if (field(request, "upgrade") or ""):lower():find("websocket", 1, true)
        and record.final.status == 101 then
        return "WebSockets"
    end
    if not request.peer_ip then return "clients without an address" end
end

-- The body, and whether it is the one that came.
local function body_of(record, opened)
    local request = record.request
    local body = request.body
    if body and body.data ~= nil then
        local kind = (field(request, "content-type") or ""):lower()
        local form = kind:find("urlencoded", 1, true)
        local scrub = opened and (form and opened.put_in_escaped or opened.put_in)
        local text = plain(body.data, scrub)
        if type(text) ~= "string" then return "", false end
        return text, not body.cut
    end
    local length = tonumber(field(request, "content-length") or "")
    if length and length > 0 then return ("\0"):rep(math.min(length, FILL_MOST)), false end
    if field(request, "transfer-encoding") then return "\0", false end
    return nil, true
end

-- What would let one line become two cannot have been in a head.
local function is_line(text)
    return type(text) == "string" and not text:find("[\r\n%z]")
end

local function bytes_of(record, opened)
    local request = record.request
    local put_in = opened and opened.put_in
    local path = plain(request.path, opened and opened.put_in_escaped)
    local query = plain(request.query, opened and opened.put_in_escaped)
    local target = query and path .. "?" .. query or path
    local version = request.version == "1.0" and "1.0" or "1.1"
    local lines = { ("%s %s HTTP/%s"):format(request.method, target, version) }
    local has_host = false
    for _, pair in ipairs(request.headers) do
        local name, value = plain(pair[1]), plain(pair[2], put_in)
        if not is_line(name) or not is_line(value) or name == "" then error("a header", 0) end
        local lower = name:lower()
        has_host = has_host or lower == "host"
        if not FRAMING[lower] then lines[#lines + 1] = name .. ": " .. value end
    end
    if not has_host and request.host then lines[#lines + 1] = "host: " .. request.host end
    local body, whole = body_of(record, opened)
    if body then lines[#lines + 1] = "content-length: " .. #body end
    for _, line in ipairs(lines) do
        if not is_line(line) then error("a line of the head", 0) end
    end
    return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or ""), whole
end

-- ---------------------------------------------------------------- upstreams

-- The recorded answer as the lab's servers give it.
local function answer_of(record, opened)
    local answer, put_in = record.answer, opened and opened.put_in
    local headers = {}
    for _, pair in ipairs(answer.headers) do
        local name, value = plain(pair[1]), plain(pair[2], put_in)
        if not is_line(name) or not is_line(value) then error("a header of the answer", 0) end
        if not FRAMING[name:lower()] then headers[#headers + 1] = name .. ": " .. value end
    end
    local body, whole = "", false
    if answer.body and answer.body.data ~= nil then
        body, whole = plain(answer.body.data, put_in), not answer.body.cut
    else
        for _, pair in ipairs(answer.headers) do
            if plain(pair[1]):lower() == "content-length" then
                local length = tonumber(plain(pair[2])) or 0
                body, whole = ("\0"):rep(math.min(length, FILL_MOST)), length == 0
            end
        end
    end
    return { status = answer.status, headers = headers, body = body }, whole
end

local CONNECTS = { ["upstream connect failed"] = "refuse", ["upstream connect timed out"] = "hang" }
local HANGS = { ["no response head from the upstream in time"] = true,
    ["the upstream response stalled"] = true, ["the upstream stopped reading"] = true }

-- How the upstreams failed: at connecting (manner), or later.
local function failure_of(record)
    local fail = record.final.fail
    if type(fail) ~= "string" or type(record.upstream) ~= "table" then return nil end
    return HANGS[fail] and "hang" or "reset", CONNECTS[fail]
end

local function upstream_fn()
    local playing = now_playing
    if not playing then return 200, "" end -- a health check
    if playing.answer then return playing.answer end
    if playing.failure then return playing.failure end
    playing.stand_in = true
    return 200, STAND_IN, { ["content-type"] = "text/plain" }
end

-- ---------------------------------------------------------------- one request

local Replay = {}
Replay.__index = Replay

local function facts_of(record)
    local request = record.request
    local facts = { id = request.id, start = request.at }
    if request.version == "2" then facts.version = "2" end
    local conn = request.conn and plain(request.conn)
    return facts, type(conn) == "table" and conn or {}
end

local function move_clock(self, at)
    local delta = at - (self.at or at)
    if delta > 0 then self.lab.clock:advance(math.min(delta, ADVANCE_MOST)) end
    self.at = math.max(self.at or at, at)
    self.lab.clock:set(at)
end

local function prepare(self, record)
    local opened, left = redact.open(record.secrets, self.opts.key)
    local bytes, whole = bytes_of(record, opened)
    local playing = { record = record, bodies = whole,
        player = player.new(record, self.library, { on_miss = self.opts.on_miss, opened = opened,
            redacted = left > 0 }) }
    playing.req_facts, playing.conn_facts = facts_of(record)
    if record.answer then
        local answer_whole
        playing.answer, answer_whole = answer_of(record, opened)
        playing.bodies = playing.bodies and answer_whole
    else
        playing.failure, playing.manner = failure_of(record)
    end
    playing.redacted, playing.cut = left, not playing.bodies
    if left > 0 then playing.bodies = false end -- marks are of another length
    return playing, bytes
end

-- What connecting to upstreams does.
function Replay:connect_by(manner)
    if manner == self.manner then return end
    self.manner = manner
    for _, server in ipairs(self.servers) do server.manner = manner end
    self.lab.world:apply()
end

--- Run one record. Raises when it cannot be replayed.
--- @return table result  differences, misses, assumed, borrowed, guessed, old, new (decisions)
function Replay:run(record)
    local playing, bytes = prepare(self, record)
    move_clock(self, record.request.at)
    self.background.at = record.request.at
    self:connect_by(playing.manner)
    now_playing = playing
    local request = record.request
    local ran, err = pcall(self.lab.request, self.lab, { raw = bytes, method = request.method,
        tls = request.scheme == "https", from = request.peer_ip })
    now_playing = nil
    if playing.slot then tape.put(playing.slot, nil) end
    if not ran then error(err, 0) end
    if not playing.outcome then error("the core did not take it as a request", 0) end
    local differences, old, new = diff.compare(record, playing.outcome,
        { stand_in = playing.stand_in, bodies = playing.bodies, failed = playing.failure ~= nil })
    local p = playing.player
    return { differences = differences, misses = p.misses, assumed = p.assumed,
        simulated = p.simulated,
        borrowed = p.borrowed, guessed = p.guessed, dice = p.dice, old = old, new = new,
        outcome = playing.outcome, redacted = playing.redacted, cut = playing.cut }
end

-- ---------------------------------------------------------------- opening

--- Put the tape in place. Before rproxy.lab opens the first site of this VM.
function M.prepare()
    if tape.mode == nil then
        tape.install("replay")
        require("rproxy.journal").on_end(on_end)
    end
end

--- @param path string  of the site
--- @param library table  replay_player.library of the capture
--- @param opts table  key (bytes), on_miss, overrides, at (time of the first record)
--- @return table replay  replay:run(record)
function M.open(path, library, opts)
    M.prepare()
    local self = setmetatable({ opts = opts, library = library }, Replay)
    self.background = player.new(nil, library, { on_miss = opts.on_miss, at = opts.at })
    tape.background = self.background
    local lab = require("rproxy.lab")
    local settings = { strays = "refuse", overrides = opts.overrides, budget = false,
        time = opts.at }
    local ok, opened = pcall(lab.open, path, settings)
    if not ok then
        settings.start = false
        local again
        self.start_failed = tostring(opened)
        again, opened = pcall(lab.open, path, settings)
        if not again then error(self.start_failed, 0) end
    end
    self.lab, self.servers = opened, {}
    for i, up in ipairs(opened.model.upstreams) do
        self.servers[i] = opened:upstream(up.name, upstream_fn)
    end
    opened.world:apply()
    return self
end

function Replay:close()
    self.lab:close()
end

--- What all calls of a capture gave, and when its first record was.
--- @param open function  () -> a list of open files
--- @return table library, table counts, number|nil at
function M.survey(open)
    local library, counts, at = player.library(), capture.counts(), nil
    for _, file in ipairs(open()) do
        capture.each(file, counts, function(record, bytes)
            if record.kind == "background" then
                library:add(record.call, record.at, bytes)
                at = math.min(at or record.at, record.at)
            else
                local each = bytes / math.max(#record.calls, 1)
                for _, call in ipairs(record.calls) do
                    library:add(call, record.request.at, each)
                end
                at = math.min(at or record.request.at, record.request.at)
            end
        end)
    end
    return library, counts, at
end

return M
