-- SPDX-License-Identifier: MIT
--
-- record: samples requests of a site with `record`: what came, what hooks got from outside (tape),
-- what they decided (journal), what the upstream answered and what the client got: one line of
-- JSON each, which `rproxy replay` reads. docs/guide/record-replay.md has the form.
--
-- In the chains stand two instances of the layer: `outer` before all others, which decides in
-- `early` whether a request is recorded, and `inner` behind all others, which sees the upstream's
-- response before any hook does. What ends a record is the end of the request's journal.

local bit = require("bit")

local abi = require("rproxy.abi")
local chain = require("rproxy.chain")
local crypto = require("rproxy.crypto")
local header = require("rproxy.header")
local journal = require("rproxy.journal")
local json = require("rproxy.json")
local log = require("rproxy.log")
local outside = require("rproxy.outside")
local redact = require("rproxy.record_redact")
local tape = require("rproxy.tape")
local time = require("rproxy.time")
local values = require("rproxy.tape_value")

local C = abi.C
local tonumber, type = tonumber, type

local M = { VERSION = 1 }

local BACKGROUND_MOST = 10000 -- different calls outside of requests that are remembered
local SECRETS_KEPT = 100 -- of those that calls of the background brought
local BACKGROUND_SECONDS = 1 -- between two results of one call
local random = crypto.random  -- before a tape stands in between
local wall = time.time

local state -- of this VM: conf, redactor, file, dice; nil: nothing is recorded

-- ---------------------------------------------------------------- which requests

-- A generator of its own: sites that draw numbers draw the same with and without a record.
local function new_dice()
    local word = 0
    for i, byte in ipairs { random(4):byte(1, 4) } do
        word = bit.bor(word, bit.lshift(byte, 8 * (i - 1)))
    end
    if word == 0 then word = 1 end
    return function()
        word = bit.bxor(word, bit.lshift(word, 13))
        word = bit.bxor(word, bit.rshift(word, 17))
        word = bit.bxor(word, bit.lshift(word, 5))
        return (word % 2 ^ 32) / 2 ^ 32
    end
end

local function is_asked(req, sample)
    local given = sample.header and req:get(sample.header)
    return given ~= nil and crypto.equal(given, sample.token)
end

local function is_sampled(req)
    local sample = state.sample
    if sample.share > 0 and state.dice() < sample.share then return true end
    return is_asked(req, sample)
end

-- ---------------------------------------------------------------- reading a request

local function fields_of(secrets, each)
    local out = json.array()
    for name, value in each do
        out[#out + 1] = json.array { values.pack(name), values.pack(secrets:header(name, value)) }
    end
    return out
end

local function list_of(secrets, m)
    local walk, a, b = header.walk(m)
    local function each()
        local name, value = walk(a, b)
        return name, value
    end
    return fields_of(secrets, each)
end

local function plain(value)
    if type(value) ~= "table" then return value end
    local out = {}
    for key, item in pairs(value) do out[key] = plain(item) end
    return out
end

local function conn_of(req)
    local conn, made = req.conn, { id = req.conn.id, requests = req.conn.requests }
    local ok, tls = pcall(function() return conn.tls end)
    if ok and tls then made.tls = plain(tls) end
    for _, name in ipairs { "ja4", "sni" } do
        local known, value = pcall(function() return conn[name] end)
        if known then made[name] = value end
    end
    return made
end

-- What the client sent. Before any hook.
local function read_request(req, secrets)
    local query = req.query
    query = query and secrets:form(query)
    list_of(secrets, req[1].x.head) -- all secrets are known before the first text is written
    return {
        id = req.id, at = req.start, method = req.method, scheme = req.scheme, host = req.host,
        port = req.port, path = values.pack(req.raw_path, secrets.scrub),
        query = query and values.pack(query, secrets.scrub) or nil,
        version = req.version, remote_ip = req.remote_ip, peer_ip = req.peer_ip,
        headers = list_of(secrets, req[1].x.head), conn = values.pack(conn_of(req), secrets.scrub),
    }
end

-- ---------------------------------------------------------------- secrets of calls

-- What site code sends by rp.http, and what it gets, holds secrets in the same places.
local function each_field(fields, fn)
    if type(fields) ~= "table" then return end
    for name, value in pairs(fields) do
        if type(name) == "string" and type(value) == "string" then fn(name, value) end
    end
end

local function note_arguments(secrets, name, _, opts)
    if name ~= "http.client.request" or type(opts) ~= "table" then return end
    each_field(opts.headers, function(field, value) secrets:header(field, value) end)
    if type(opts.url) == "string" then secrets:form(opts.url:match("%?(.*)$") or "") end
    if type(opts.query) == "string" then secrets:form(opts.query) end
    each_field(opts.query, function(arg, value) secrets:argument(arg, value) end)
    if type(opts.body) == "string" then
        local kind = type(opts.headers) == "table" and opts.headers["content-type"]
        secrets:body(opts.body, type(kind) == "string" and kind or nil)
    end
end

local function note_result(secrets, name, res)
    if name ~= "http.client.request" or type(res) ~= "table" then return end
    for _, field, value in res.headers:each() do secrets:header(field, value) end
    if type(res.body) == "string" then secrets:body(res.body, res.headers:get("content-type")) end
end

-- ---------------------------------------------------------------- hooks

local function begin(req)
    local secrets = redact.secrets(state.redactor)
    local made = tape.new(secrets.scrub)
    made.secrets, made.slot_gen = secrets, req[1].slot_gen
    made.request = read_request(req, secrets)
    made.known = #secrets.list
    made.note_arguments = function(...) note_arguments(secrets, ...) end
    made.note_result = function(...) note_result(secrets, ...) end
    tape.put(req[1].slot, made)
    journal.want(req, true)
end

local function early(req)
    local slot = req[1].slot
    if tape.of(slot) then tape.put(slot, nil) end -- of a request whose end nobody told
    if is_sampled(req) then begin(req) end
end

local function tape_of(req)
    local made = tape.of(req[1].slot)
    return made and made.slot_gen == req[1].slot_gen and made or nil
end

-- Our own entry in Via, which is added again when the response is replayed.
local function without_our_via(line)
    if not state.via then return line end
    local before, last = line:match("^(.*),%s*([^,]*)$")
    last = last or line
    if last:match("^%s*%S+%s+(%S+)") ~= state.via then return line end
    return before
end

local function response_head(req, secrets)
    local walk, a, b = header.walk(req[1].res)
    local function each()
        while true do
            local name, value = walk(a, b)
            if name == nil then return nil end
            if name:lower() == "via" then value = without_our_via(value) end
            if value then return name, value end
        end
    end
    return { status = req[1].res.status, headers = fields_of(secrets, each) }
end

local function header_filter(req, res)
    local made = tape_of(req)
    if made and res.from == "upstream" then made.answer = response_head(req, made.secrets) end
end

local function gather(made, name, piece)
    local body = made[name]
    if not body then
        body = { bytes = 0, kept = 0 }
        made[name] = body
    end
    body.bytes = body.bytes + #piece
    if body.kept < state.conf.body then
        local part = piece:sub(1, state.conf.body - body.kept)
        body[#body + 1], body.kept = part, body.kept + #part
    end
end

local function body_filter(req, res, piece)
    local made = tape_of(req)
    if made and res.from == "upstream" then gather(made, "answer_body", piece) end
end

local function request_body(req, piece)
    local made = tape_of(req)
    if made and not made.body_is_set then gather(made, "hook_body", piece) end
end

local BODY = 4 -- place in the wrapper: the body, once a hook has read it whole

local function note_whole(req, made, text)
    if type(text) == "string" and not made.whole_body and not made.body_is_set then
        gather(made, "whole_body", text)
    end
end

-- What hooks read of a body is what came, until one of them sets another.
local function watch_bodies()
    local class, reader = outside.find("req"), outside.find("req.reader")
    local body, set_body, read = class.methods.body, class.methods.set_body, reader.methods.read
    local function noted(req, ...)
        local made, text = tape_of(req), ...
        if made and text ~= nil then note_whole(req, made, tostring(text)) end
        return ...
    end
    class.methods.body = function(self, ...) return noted(self, body(self, ...)) end
    class.methods.set_body = function(self, ...)
        local made = tape_of(self)
        if made then
            note_whole(self, made, rawget(self, BODY))
            made.body_is_set = true
        end
        return set_body(self, ...)
    end
    local function noted_piece(req, ...)
        local made, piece = tape_of(req), ...
        if made and type(piece) == "string" then gather(made, "reader_body", piece) end
        return ...
    end
    reader.methods.read = function(self, ...) return noted_piece(self.req, read(self, ...)) end
end

-- The one of which most is known.
local function body_that_came(req, made)
    note_whole(req, made, rawget(req, BODY))
    return made.whole_body or made.hook_body or made.reader_body
end

-- ---------------------------------------------------------------- lines

local function body_of(body, secrets, kind)
    if not body then return nil end
    return { bytes = body.bytes, cut = body.kept < body.bytes or nil,
        data = values.pack(secrets:body(table.concat(body), kind)) }
end

local function kind_of(headers)
    for _, field in ipairs(headers) do
        if type(field[1]) == "string" and field[1]:lower() == "content-type"
            and type(field[2]) == "string" then
            return field[2]
        end
    end
end

-- What went upstream, if anything did.
local function sent_of(req, secrets)
    local r = req[1]
    if r.tries == 0 then return nil end
    local up = req.up
    return { path = values.pack(up.path, secrets.scrub), host = up.host,
        headers = list_of(secrets, r.up_head) }
end

local function upstream_of(req)
    local made = req.res_upstream
    if not made then return nil end
    return { name = made.name, peer = made.peer, attempts = made.attempts,
        connect = made.connect, first_byte = made.first_byte, time = made.time }
end

local function final_of(req, secrets)
    local r, res = req[1], rawget(req, 7)
    local made = { status = tonumber(r.res.status), from = res.from, bytes = res.bytes,
        duration = req.duration }
    if r.fail ~= 0 then made.fail = abi.text(r.fail) end
    if made.status ~= 0 then made.headers = list_of(secrets, r.res) end
    return made
end

-- What hooks wrote into headers may be secrets that no request had.
local function hide_edits(entries, secrets)
    for _, entry in ipairs(entries) do
        local name = type(entry.what) == "string" and entry.what:match("^%a+%.(.+)$")
        if (entry.kind == "set" or entry.kind == "add") and name and entry.value then
            entry.value = secrets:header(name, entry.value)
        end
        for field, value in pairs(entry.headers or {}) do
            entry.headers[field] = secrets:header(field, value)
        end
    end
end

--- What became of a request, as records have it: route, consumer, upstream, sent, final, decisions.
--- Replays ask the same of theirs.
function M.outcome(req, entries, secrets)
    local route, res = req.route, rawget(req, 7)
    local made = { route = route and route.id or nil,
        consumer = values.pack(req.consumer, secrets.scrub),
        sent = sent_of(req, secrets), final = final_of(req, secrets),
        upstream = upstream_of { res_upstream = res.upstream } }
    hide_edits(entries, secrets)
    made.decisions = values.pack(entries, secrets.scrub)
    return made
end

local function labels_of(calls)
    for _, call in ipairs(calls) do
        if call.i then call.i = journal.label(call.i) end
    end
    return json.array(calls)
end

local OURS = { record = true, ["record-inner"] = true }

--- What hooks of the site did, of the entries of a journal.
function M.decisions(entries)
    local list = {}
    for _, entry in ipairs(entries) do
        if not OURS[entry.instance] then list[#list + 1] = plain(entry) end
    end
    return list
end

-- Texts from before the last secret was known.
local function scrub_again(record, secrets)
    local request, answer = record.request, record.answer
    local function again(packed) return values.scrub(packed, secrets.scrub) end
    request.path, request.query = again(request.path), again(request.query)
    for _, list in ipairs { request.headers, answer and answer.headers or {} } do
        for _, field in ipairs(list) do field[2] = again(field[2]) end
    end
    for _, call in ipairs(record.calls) do
        call.w, call.e = again(call.w), again(call.e)
        for i, packed in ipairs(call.r or {}) do call.r[i] = again(packed) end
    end
    for _, runs in pairs(record.seq) do
        for _, run in ipairs(runs) do run[1] = again(run[1]) end
    end
end

local function line_of(req, entries, made)
    local secrets, request = made.secrets, made.request
    request.body = body_of(body_that_came(req, made), secrets, kind_of(request.headers))
    local answer = made.answer
    if answer then answer.body = body_of(made.answer_body, secrets, kind_of(answer.headers)) end
    local record = M.outcome(req, M.decisions(entries), secrets)
    record.v, record.kind, record.request = M.VERSION, "request", request
    record.answer, record.calls, record.seq = answer, labels_of(made.calls), made.seq
    record.lost = made.lost > 0 and made.lost or nil
    if #secrets.list > made.known then scrub_again(record, secrets) end
    record.secrets = secrets:rows()
    return json.encode(record, { invalid = "replace" })
end

local function on_end(req, entries)
    local made = tape_of(req)
    if not made then return end
    tape.put(req[1].slot, nil)
    local line, err = line_of(req, entries, made)
    if line then state.file:put(line .. "\n")
    else log.warn("a request could not be recorded", { error = tostring(err) }) end
end

-- Calls outside of requests. One that gives the same again is not written again, and none more
-- often than every so many seconds.
local Background = {}
Background.__index = Background

-- May this result be written now?
function Background:takes(entry, digest)
    local key, now = entry.f .. ":" .. entry.a, wall()
    local before = self.known[key]
    if before and (before.digest == digest or now < before.at + BACKGROUND_SECONDS) then
        return false
    end
    if not before then self.known_n = self.known_n + 1 end
    if self.known_n > BACKGROUND_MOST then self.known, self.known_n = {}, 1 end
    self.known[key] = { digest = digest, at = now }
    return true
end

function Background:take(entry)
    local text = json.encode({ r = entry.r, e = entry.e }, { invalid = "replace", sort = true })
    if not text or not self:takes(entry, C.rp_abi_hash(text, #text)) then return end
    entry.i = entry.i and journal.label(entry.i)
    local line = json.encode({ v = M.VERSION, kind = "background", at = wall(), call = entry },
        { invalid = "replace" })
    if line then state.file:put(line .. "\n") end
end

local function background_tape()
    local calls = setmetatable({ known = {}, known_n = 0 }, Background)
    local secrets = redact.secrets(state.redactor)
    local made = tape.new(function(s) return secrets.scrub(s) end)
    made.note_arguments = function(...)
        if #secrets.list > SECRETS_KEPT then secrets = redact.secrets(state.redactor) end
        note_arguments(secrets, ...)
    end
    made.note_result = function(...) note_result(secrets, ...) end
    made.take = function(entry)
        made.bytes, made.ordinals = 0, {}
        calls:take(entry)
    end
    return made
end

-- ---------------------------------------------------------------- making

local function read_key(path)
    if not path then return nil end
    local bytes, err = require("rproxy.loader").read_file(path)
    if not bytes then return nil, ("record.key: %s: %s"):format(path, err or "no such file") end
    if #bytes < 32 then return nil, ("record.key: %s has less than 32 bytes"):format(path) end
    return bytes
end

local function sample_of(given)
    if type(given) == "number" then return { share = given } end
    return { share = given.share or 0, header = given.header, token = given.token }
end

--- Hooks of the two instances.
M.OUTER = { early = early, request_body = request_body }
M.INNER = { header_filter = header_filter, body_filter = body_filter }

--- Make this VM record, as the site says. While it is built; the tape is there already.
--- @param conf table  the options under `record`
--- @param via string|false  our name in Via
--- @return true|nil ok, string|nil err
function M.open(conf, via)
    local key, err = read_key(conf.key)
    if err then return nil, err end
    local redact_conf = conf.redact or {}
    local sample = sample_of(conf.sample)
    if sample.header then
        local headers = { sample.header }
        for _, name in ipairs(redact_conf.headers or {}) do headers[#headers + 1] = name end
        redact_conf = { headers = headers, args = redact_conf.args, cookies = redact_conf.cookies }
    end
    state = { conf = conf, via = via or nil, sample = sample,
        redactor = redact.new(redact_conf, key), dice = new_dice(),
        file = require("rproxy.record_file").new(conf.to, conf.max, conf.keep, wall) }
    if conf.background then
        chain.on("start", function() tape.background = background_tape() end, -1)
    end
    watch_bodies()
    journal.on_end(on_end)
    return true
end

return M
