-- SPDX-License-Identifier: MIT
--
-- request_body: what req does with its body: all of it, pieces, forms, JSON, another one.
--
-- The client's bytes are in one of three places: not read yet, whole in memory (r.body of C; as a
-- string in the wrapper's [4]) or, from the choice of a peer on, in the spool. What a reader took
-- is gone: such a body goes upstream no more, unless a hook gives another.

local abi = require("rproxy.abi")
local header = require("rproxy.header")
local journal = require("rproxy.journal")
local multipart = require("rproxy.multipart")
local object = require("rproxy.object")
local opts_of = require("rproxy.opts")
local outside = require("rproxy.outside")
local task = require("rproxy.task")
local text = require("rproxy.text")

local C, H, E = abi.C, abi.H, abi.E
local raise, keep, ONLY = object.raise, object.keep, journal.ONLY
local rawget, tonumber, type = rawget, tonumber, type

local M = {}

local BODY_MOST = 1024 * 1024 -- req:body without max
local PIECE = 64 * 1024 -- most bytes of a reader's piece
local BODY, SOURCE = 4, 13 -- places in the wrapper

local methods, get = {}, {}
M.methods, M.get = methods, get

-- ---------------------------------------------------------------- whole

local function failure(code)
    if code == E.TOO_BIG or code == E.BODY_TOO_BIG then return nil, "too large" end
    if code == E.STALE then return nil, "consumed" end
    return nil, abi.text(code)
end

local function gather(r, max)
    while true do
        local code = C.rp_abi_body_buffer(H, r, max)
        if code == abi.OK then return true end
        if code == E.PHASE then raise("the request body cannot be read here: it is under way") end
        if code ~= abi.AGAIN then return failure(code) end
        task.wait("request body", -1)
    end
end

local function text_of(r)
    local n = tonumber(r.body.bytes)
    local bytes = abi.new("char[?]", n)
    C.rp_abi_body_copy(r, bytes)
    return abi.string(bytes, n)
end

local function buffer_of(r)
    local n = tonumber(r.body.bytes)
    local buffer = require("string.buffer").new(n)
    local room = buffer:reserve(n)
    C.rp_abi_body_copy(r, room)
    return buffer:commit(n)
end

local FORMS = { string = true, buffer = true }

local function whole(self, max, as)
    local r, body = self[1], rawget(self, BODY)
    if not body then
        local ok, err = gather(r, max)
        if not ok then return nil, err end
        if as == "buffer" then return buffer_of(r) end
        body = text_of(r)
        keep(self, BODY, body)
    end
    if #body > max then return nil, "too large" end
    if as == "buffer" then return require("string.buffer").new(#body):put(body) end
    return body
end

--- The whole request body. It stays where it is: it goes upstream, and may be asked for again.
--- phases: early access rewrite content balance   yields: yes
--- @param opts table|nil  max: most bytes (1 MB); as: "string", or "buffer": a string.buffer of
---   one's own, which large bodies are better off in
--- @return string|table|nil body, string|nil err  "too large"; "consumed": a reader took of it, or
---   a function makes another; or why it did not come
function methods.body(self, opts)
    if opts == nil then return whole(self, BODY_MOST) end
    local as = opts.as
    if as ~= nil and not FORMS[as] then raise('req:body: as is "string" or "buffer"') end
    return whole(self, opts.max or BODY_MOST, as)
end

--- The body as JSON.
--- phases: early access rewrite content balance   yields: yes
--- @param opts table|nil  max: most bytes (1 MB); depth (128) and the others of rp.json.decode
--- @return any|nil value, string|nil err
function methods.json(self, opts)
    local body, err = self:body(opts and { max = opts.max })
    if not body then return nil, err end
    return require("rproxy.json").decode(body, opts)
end

-- ---------------------------------------------------------------- pieces

local Reader = {}
Reader.__index = Reader

local function is_announced_over(r, most)
    return most and r.x.head.framing == C.RP_BODY_LENGTH
        and tonumber(r.x.head.content_length) > most
end

-- A body that is here is read from memory and stays. Code in shadow mode takes nothing from others.
local function text_for(reader)
    local req = reader.req
    if H.notes ~= ONLY and not rawget(req, BODY) and not req[1].body_whole then return end
    local most = reader.most or (H.notes == ONLY and BODY_MOST or math.huge)
    reader.text, reader.failed = whole(req, most)
    reader.at = 1
end

local function start(reader)
    reader.begun = true
    if is_announced_over(reader.req[1], reader.most) then reader.failed = "too large" end
    if not reader.failed then text_for(reader) end
end

local function fail(reader, code)
    local _, err = failure(code)
    reader.failed = err
    return nil, err
end

local function read_text(reader, n)
    local piece = reader.text:sub(reader.at, reader.at + n - 1)
    reader.at = reader.at + #piece
    return piece ~= "" and piece or nil
end

local function read_client(reader, n)
    local r = reader.req[1]
    local code = C.rp_abi_body_read(H, r, n)
    while code == abi.AGAIN do
        task.wait("request body", -1)
        code = C.rp_abi_body_read(H, reader.req[1], n)
    end
    if code == abi.OK then return abi.out() end
    if code == abi.END then return nil end
    if code == E.PHASE then
        raise("a request body can be read piece by piece in access, rewrite and content, before "
            .. "the request is answered")
    end
    return fail(reader, code)
end

--- The next piece of the body, as it comes.
--- phases: access rewrite content   yields: yes
--- @param n number|nil  most bytes of it (65536)
--- @return string|nil piece, string|nil err  nil alone: that was all; "too large": it has more than
---   the reader's max; "consumed"; or why it did not come
function Reader:read(n)
    if n ~= nil and (type(n) ~= "number" or n < 1) then
        raise("reader:read takes the most bytes of a piece, from 1")
    end
    if rawget(self.req, 14) ~= H.wrapper then raise("this reader was kept from another request") end
    if not self.begun then start(self) end
    if self.failed then return nil, self.failed end
    n = math.min(n or PIECE, PIECE)
    local piece, err
    if self.text then piece, err = read_text(self, n) else piece, err = read_client(self, n) end
    if not piece then return nil, err end
    self.bytes = self.bytes + #piece
    if self.most and self.bytes > self.most then
        self.failed = "too large"
        return nil, self.failed
    end
    return piece
end

--- for piece in reader:chunks() do .. end; raises what reader:read would return as err.
--- phases: access rewrite content   yields: yes
function Reader:chunks()
    return function()
        local piece, err = self:read()
        if not piece and err then error("request body: " .. err, 0) end
        return piece
    end
end

outside.class("req.reader", Reader)

local function check_most(what, most)
    if type(most) ~= "number" or most ~= most or most < 0 then
        raise("%s: max is a number of bytes, got %s", what, tostring(most))
    end
    return most
end

local READER_OPTIONS = { max = "any" }

--- Read the body piece by piece. What was read goes upstream no more: give another by req:set_body,
--- or answer. (A body that req:body has read is gone over again, and stays.)
--- phases: access rewrite content   yields: no
--- @param opts table|nil  max: most bytes in all (as many as limits.body lets pass)
--- @return table reader  reader:read(), reader:chunks(), reader.bytes: of the pieces so far
function methods.body_reader(self, opts)
    local most = opts_of.check("req:body_reader", opts, READER_OPTIONS).max
    if most ~= nil then check_most("req:body_reader", most) end
    return setmetatable({ req = self[1] and self, most = most, bytes = 0 }, Reader)
end

-- ---------------------------------------------------------------- forms

local function kind_of(self)
    local kind = (self:get("content-type") or ""):lower()
    if kind:find("^application/x%-www%-form%-urlencoded%f[^%w_-]") then return "fields" end
    if kind:find("^multipart/form%-data%f[^%w_-]") then return "parts" end
end

-- Fields and files apart: what a client may send as either has one type for whoever reads it.
local function sort_parts(parts)
    local fields, files = {}, {}
    for _, part in ipairs(parts) do
        if part.filename then
            files[part.name] = files[part.name] or part
        elseif fields[part.name] == nil then
            fields[part.name] = part.body
        end
    end
    return fields, files
end

local function stream_parts(self, opts)
    local form, err = multipart.reader(self:get("content-type"), opts)
    if not form then return nil, err end
    local reader = self:body_reader { max = opts.max }
    while true do
        local piece, ok
        piece, err = reader:read()
        if not piece then break end
        ok, err = form:feed(piece, opts.on)
        if not ok then return nil, err end
    end
    if err then return nil, err end
    return form:finish()
end

local FORM_OPTIONS = { max = "any", parts = "count", on = "table" }

--- The body as a form: name -> first value, and files of multipart/form-data: name -> the first
--- { name, filename, type, body }. With `on` (as reader:feed of rp.form.reader takes it) the parts
--- of multipart/form-data come piece by piece, and the body is consumed.
--- phases: early access rewrite content balance   yields: yes
--- @param opts table|nil  max: most bytes (1 MB; with on: none); parts: most fields (1000) or
---   parts (100)
--- @return table|true|nil form, table|string|nil files  nil and err: "not a form", "invalid",
---   "too many", "too big" (a part's header), and those of req:body
function methods.form(self, opts)
    opts = opts_of.check("req:form", opts, FORM_OPTIONS)
    if opts.max ~= nil then check_most("req:form", opts.max) end
    local kind = kind_of(self)
    if not kind or (opts.on and kind ~= "parts") then return nil, "not a form" end
    if opts.on then return stream_parts(self, opts) end
    local body, err = whole(self, opts.max or BODY_MOST)
    if not body then return nil, err end
    if kind == "fields" then
        local form
        form, err = text.form.parse(body, opts.parts)
        return form, form and {} or err
    end
    local parts
    parts, err = multipart.parts(body, self:get("content-type"), opts)
    if not parts then return nil, err end
    return sort_parts(parts)
end

-- ---------------------------------------------------------------- another one

local function check_set(code)
    if code == E.PHASE then raise("the request body cannot be changed any more") end
    if code ~= 0 then raise("req:set_body: %s", abi.text(code)) end
end

local function set_source(self, fn)
    check_set(C.rp_abi_body_source(H, self[1]))
    if H.notes ~= 0 then journal.note(self, "body", "req", "function") end
    if H.notes == ONLY then return end
    keep(self, SOURCE, fn)
    keep(self, BODY, nil)
end

--- Send another body upstream. A function makes it piece by piece, as the upstream takes it: it
--- returns the next piece, nil at the end, or nil and why it cannot go on; it may wait. Its body
--- has no length before its end, and the request is not repeated once a piece was sent.
--- phases: early access rewrite balance   yields: no
--- @param body string|function
function methods.set_body(self, body)
    if type(body) == "function" then return set_source(self, body) end
    if type(body) ~= "string" then raise("req:set_body takes a string or a function") end
    check_set(C.rp_abi_body_set(self[1], body, #body))
    if H.notes ~= 0 then journal.note_bytes(self, "req", #body) end
    if H.notes ~= ONLY then keep(self, BODY, body) end
end

-- ---------------------------------------------------------------- trailers

--- What the client sent behind its body, name -> value, once that has been read; nil: nothing, or
--- not yet.
function get.trailers(self)
    local m, found = self[1].x.trailers, nil
    if m == nil then return nil end
    for name, value in header.walk(m) do
        found = found or {}
        found[name] = found[name] and found[name] .. ", " .. value or value
    end
    return found
end

return M
