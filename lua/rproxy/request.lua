-- SPDX-License-Identifier: MIT
--
-- request: req, what hooks see of a request. Fields are read from the C struct or by one ABI call;
-- nothing is copied before it is asked for.

local abi = require("rproxy.abi")
local answer = require("rproxy.answer")
local chain = require("rproxy.chain")
local decision = require("rproxy.decision")
local events = require("rproxy.events")
local guest = require("rproxy.guest")
local header = require("rproxy.header")
local journal = require("rproxy.journal")
local object = require("rproxy.object")
local opts = require("rproxy.opts")
local outside = require("rproxy.outside")
local regex = require("rproxy.regex")
local request_body = require("rproxy.request_body")
local response = require("rproxy.response")
local shadow = require("rproxy.shadow")
local task = require("rproxy.task")
local up = require("rproxy.up")

local C, H, E = abi.C, abi.H, abi.E
local ffi_string = abi.string
local raise, name_of, first = object.raise, header.name, header.first
local keep, ONLY = object.keep, journal.ONLY
local rawget, tonumber, type = rawget, tonumber, type
local new_table = require("table.new")

local M = {}

--- What req:abort raises; C knows it.
M.ABORT = setmetatable({}, { __tostring = function() return "req:abort" end })

-- enum rp_abi_text
local METHOD, HOST, PATH, QUERY, ID, REMOTE_IP, PEER_IP, CONSUMER = 0, 1, 2, 3, 4, 5, 6, 7

local REWRITE = tonumber(C.RP_PHASE_REWRITE)

local METHODS = {} -- enum rp_method -> text
for id = 1, tonumber(C.RP_M_COUNT) - 1 do
    local name = C.rp_token_method_name(id)
    METHODS[id] = ffi_string(name.ptr, name.len)
end

local VERSIONS = { [10] = "1.0", [11] = "1.1", [20] = "2" }

local function text(r, what)
    if C.rp_abi_req_text(H, r, what) then return ffi_string(H.out.ptr, H.out.len) end
    return nil
end

-- ---------------------------------------------------------------- fields

local get, set, methods = {}, {}, {}

function get.method(self)
    local r = self[1]
    local m = r.phase == REWRITE and r.up_head or r.x.head
    return METHODS[m.method] or text(r, METHOD)
end

function get.scheme(self)
    return self[1].x.secure and "https" or "http"
end

function get.host(self)
    return text(self[1], HOST)
end

function get.port(self)
    local r = self[1]
    local port = r.x.head.port
    if port ~= 0 then return port end
    return r.x.secure and 443 or 80
end

function get.path(self)
    local r = self[1]
    if r.phase == REWRITE then return text(r, PATH) end
    local path = r.x.head.uri.path
    return ffi_string(path.ptr, path.len)
end

function get.raw_path(self)
    local path = self[1].x.head.uri.raw_path
    return ffi_string(path.ptr, path.len)
end

function get.query(self)
    return text(self[1], QUERY)
end

function get.version(self)
    return VERSIONS[self[1].x.head.version]
end

function get.id(self)
    return text(self[1], ID)
end

function get.start(self)
    return C.rp_abi_req_start(self[1])
end

function get.duration(self)
    return C.rp_abi_req_duration(self[1])
end

--- When what the running hook waits for has to have come, as rp.now() tells time; nil: no limit.
function get.deadline(self)
    local left = self[1] and C.rp_abi_left(H)
    if left < 0 then return nil end
    return C.rp_abi_now(H) + left
end

function get.remote_ip(self)
    return text(self[1], REMOTE_IP)
end

function get.peer_ip(self)
    return text(self[1], PEER_IP)
end

function get.consumer(self)
    return text(self[1], CONSUMER)
end

function get.ctx(self)
    local ctx = self[1] and rawget(self, 2)
    if H.notes == ONLY then return shadow.ctx(self) end
    if not ctx then
        ctx = {}
        keep(self, 2, ctx)
    end
    return ctx
end

local function read_params(r)
    local params, i = {}, 0
    while C.rp_abi_req_param(H, r, i) do
        params[abi.out()] = ffi_string(H.out2.ptr, H.out2.len)
        i = i + 1
    end
    return params
end

function get.params(self)
    local r = self[1]
    local params = rawget(self, 3)
    if not params or H.notes == ONLY then
        params = read_params(r)
        if r.route ~= nil and H.notes ~= ONLY then keep(self, 3, params) end
    end
    return params
end

local routes = {} -- index -> what req.route is

--- The site is gone (rproxy.lab): so are its routes.
function M.forget_site()
    routes = {}
end

local function make_route(route)
    local id, pattern = route.id, route.pattern
    local made = {
        id = ffi_string(id.ptr, id.len),
        name = ffi_string(id.ptr, id.len),
        pattern = pattern.ptr ~= nil and ffi_string(pattern.ptr, pattern.len) or "",
        meta = route.meta ~= 0 and chain.kept(route.meta) or nil,
    }
    routes[tonumber(route.index)] = made
    return made
end

function get.route(self)
    local route = self[1].route
    if route == nil then return nil end -- early
    local made = routes[route.index] or make_route(route)
    if H.notes == ONLY then return shadow.own(made) end -- it is that of all requests
    return made
end

function get.up(self)
    return self[1] and rawget(self, 6)
end

function get.conn(self)
    return self[1] and rawget(self, 8)
end

function get.upstream(self)
    local upstream = self[1].upstream
    if upstream == nil then return nil end
    return up.handle(ffi_string(upstream.name.ptr, upstream.name.len))
end

-- ---------------------------------------------------------------- assigning

local function assign(self, what, name, value)
    if value ~= nil and type(value) ~= "string" then
        raise("req.%s takes a string, got a %s", name, type(value))
    end
    local code = C.rp_abi_req_assign(H, self[1], what, value, value and #value or 0)
    if code == 0 then
        if H.notes ~= 0 then journal.note(self, "assign", name, value) end
        return
    end
    if code == E.PHASE then
        raise(what == CONSUMER and "req.%s can be assigned in early, access and rewrite"
            or "req.%s can be assigned in early and rewrite", name)
    end
    if code == E.INVALID then raise("req.%s: %q is no valid %s", name, tostring(value), name) end
    raise("req.%s: %s", name, abi.text(code))
end

function set.method(self, value) assign(self, METHOD, "method", value) end
function set.host(self, value) assign(self, HOST, "host", value) end
function set.path(self, value) assign(self, PATH, "path", value) end
function set.query(self, value) assign(self, QUERY, "query", value) end

function set.consumer(self, value)
    if type(value) == "number" then value = tostring(value) end
    assign(self, CONSUMER, "consumer", value)
end

function set.deadline(self, at)
    if at ~= nil and (type(at) ~= "number" or at ~= at or at <= 0) then
        raise("req.deadline takes a time as rp.now() gives it, got %s", tostring(at))
    end
    C.rp_abi_req_set_end(H, self[1], at or 0)
    if H.notes ~= 0 then journal.note(self, "assign", "deadline", at) end
end

function set.upstream(self, value)
    local index = up.index(value)
    local code = C.rp_abi_req_set_upstream(self[1], index)
    if code == E.PHASE then raise("req.upstream can be assigned in access and rewrite") end
    if code == E.INVALID then
        raise("req.upstream: route %q asks no upstream: give it one with upstream = ..",
            self.route.id)
    end
    if code ~= 0 then raise("req.upstream: %s", abi.text(code)) end
    if H.notes ~= 0 then journal.note(self, "assign", "upstream", up.name_of(value)) end
end

-- ---------------------------------------------------------------- headers

function methods.get(self, h)
    return first(self[1].x.head, h)
end

function methods.get_all(self, h)
    return header.all(self[1].x.head, h)
end

function methods.join(self, h)
    local all = header.all(self[1].x.head, h)
    return all[1] and table.concat(all, ", ") or nil
end

function methods.is(self, h, value)
    return C.rp_abi_head_is(self[1].x.head, name_of(h), value, #value)
end

local function head_match(self, h, re)
    local code = C.rp_abi_head_match(H, self[1].x.head, name_of(h), re.re)
    if code == 0 then return true end
    if code ~= abi.END then regex.limit(re, code) end
    return false
end

function methods.test(self, h, re)
    return head_match(self, h, re)
end

function methods.match(self, h, re)
    if head_match(self, h, re) then return regex.captures_of_out(re) end
    return nil
end

function methods.headers(self)
    return header.walk(self[1].x.head)
end

-- ---------------------------------------------------------------- arguments, cookies

function methods.arg(self, name)
    if C.rp_abi_req_arg(H, self[1], name, #name, 0) then
        return ffi_string(H.out.ptr, H.out.len)
    end
    return nil
end

function methods.arg_all(self, name)
    local list, r = {}, self[1]
    while C.rp_abi_req_arg(H, r, name, #name, #list) do
        list[#list + 1] = abi.out()
    end
    return list
end

local function next_arg(state)
    local from = tonumber(C.rp_abi_form_next(H, state.text, #state.text, state.from))
    if from == 0 then return nil end
    state.from = from
    return abi.out(), ffi_string(H.out2.ptr, H.out2.len)
end

function methods.args(self)
    return next_arg, { text = text(self[1], QUERY) or "", from = 0 }
end

function methods.cookie(self, name)
    if C.rp_abi_req_cookie(H, self[1], name, #name) then
        return ffi_string(H.out.ptr, H.out.len)
    end
    return nil
end

for name, method in pairs(request_body.methods) do methods[name] = method end
for name, getter in pairs(request_body.get) do get[name] = getter end

-- ---------------------------------------------------------------- timeouts, log

local WAITS = { connect = 0, send = 1, first_byte = 2, idle = 3 } -- enum rp_req_wait
local WAIT_KINDS = { connect = "seconds", send = "seconds", first_byte = "seconds",
    idle = "seconds" }

--- How long this request waits for its upstream, whatever route and upstream say.
--- phases: all before the response   yields: no
--- @param waits table  connect, send, first_byte, idle: seconds
function methods.timeout(self, waits)
    if type(waits) ~= "table" then raise("req:timeout takes a table") end
    for name, seconds in pairs(opts.check("req:timeout", waits, WAIT_KINDS)) do
        local code = C.rp_abi_req_wait(self[1], WAITS[name], seconds)
        if code ~= 0 then raise("req:timeout: %s", abi.text(code)) end
        if H.notes ~= 0 then journal.note(self, "assign", "timeout." .. name, seconds) end
    end
end

-- ---------------------------------------------------------------- queue, copies, no answer

function get.priority(self)
    return self[1].priority
end

--- Who goes first when peers are busy and requests wait: higher numbers. -1000 to 1000, 0 unless
--- it is set.
--- phases: early access rewrite
function set.priority(self, value)
    local code = C.rp_abi_req_set_priority(self[1], type(value) == "number" and value or 0 / 0)
    if code == E.PHASE then raise("req.priority can be assigned in early, access and rewrite") end
    if code ~= 0 then
        raise("req.priority takes a whole number from -1000 to 1000, got %s", tostring(value))
    end
    if H.notes ~= 0 then journal.note(self, "assign", "priority", value) end
end

local TAPS = { request = "whole", response = "whole" }

--- Keep copies of bodies for the log hooks: of what the upstream is sent, and of what the client
--- gets. Nothing waits for them. More than so many bytes are not kept at all.
--- phases: early access rewrite   yields: no
--- @param most table  request, response: most bytes, at most 1 MB
function methods.tap(self, most)
    if type(most) ~= "table" then raise("req:tap takes a table") end
    local given = opts.check("req:tap", most, TAPS)
    local code = C.rp_abi_req_tap(self[1], given.request or 0, given.response or 0)
    if code == E.PHASE then raise("req:tap is for early, access and rewrite") end
    if code == E.INVALID then raise("req:tap: at most 1 MB of each body") end
    if code ~= 0 then raise("req:tap: %s", abi.text(code)) end
end

local function tapped(r, of_response)
    local code = C.rp_abi_req_tapped(H, r, of_response)
    if code == 0 then return abi.out() end
    if code == E.PHASE then raise("req:tapped is for log hooks") end
    return nil, code == E.TOO_BIG and "too large" or "none"
end

--- What req:tap kept.
--- phases: log   yields: no
--- @param which string  "request" or "response"
--- @return string|nil body
--- @return string|nil err  "too large"; "none": not asked for, no upstream was asked, or it broke
---   off
function methods.tapped(self, which)
    if which ~= "request" and which ~= "response" then
        raise('req:tapped takes "request" or "response"')
    end
    return tapped(self[1], which == "response")
end

--- End the request and its connection without an answer: in HTTP/1.1 the connection is closed, in
--- HTTP/2 the stream is reset. Does not return.
--- phases: all before the response   yields: yes
function methods.drop(self)
    local code = C.rp_abi_req_drop(self[1])
    if code ~= 0 then raise("req:drop comes before the response") end
    if H.notes ~= 0 then journal.note(self, "drop") end
    if H.notes == ONLY then return true end
    while true do task.sleep(60) end -- it is cancelled at the end of the tick
end

local LOGGED = { string = true, number = true, boolean = true }

--- Add fields to the request's line in the access log: `log` in JSON, name="value" behind a line of
--- the combined format. A name that comes again gets the new value.
--- phases: all   yields: no
--- @param fields table  name (letters, digits, "_", "." and "-") -> string, number or boolean; at
---   most 32, and 1 KB of a value
function methods.log(self, fields)
    if type(fields) ~= "table" then raise("req:log takes a table") end
    local r = self[1]
    for name, value in pairs(fields) do
        if type(name) ~= "string" or not LOGGED[type(value)] then
            raise("req:log: %s is no string, number or boolean by name", tostring(name))
        end
        local bare = type(value) == "boolean"
            or (type(value) == "number" and value - value == 0) -- JSON has no infinity
        local text_of = tostring(value)
        local code = C.rp_abi_req_note(r, name, #name, text_of, #text_of, bare)
        if code == E.INVALID then raise("req:log: %q is no name of a field", name) end
        if code ~= 0 then raise("req:log: too many fields") end
        if H.notes ~= 0 then journal.note(self, "assign", "log." .. name, value) end
    end
end

-- ---------------------------------------------------------------- answers

--- Answer now: return req:exit(..) ends the chain.
--- phases: early access rewrite content balance header_filter   yields: no
--- @param status number
--- @param body string|table|nil  a table is sent as JSON
--- @param headers table|nil  name or rp.header -> value
--- @return true
function methods.exit(self, status, body, headers)
    return response.answer(self, "req:exit", status, body, headers)
end

local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

--- Send the client elsewhere.
--- @param url string
--- @param status number|nil  302
--- @return true
function methods.redirect(self, url, status)
    status = status or 302
    if not REDIRECTS[status] then
        raise("req:redirect takes 301, 302, 303, 307 or 308, got %s", tostring(status))
    end
    if type(url) ~= "string" or url:find("[%z\1-\32\127]") or url == "" then
        raise("req:redirect takes a URL without blanks and control bytes")
    end
    return response.answer(self, "req:redirect", status, "", { location = url })
end

--- Answer from deep inside: raises, so it does not return. Costs a microsecond.
function methods.abort(self, status, body, headers)
    response.answer(self, "req:abort", status, body, headers)
    error(M.ABORT, 0)
end

--- What has happened to the request so far, when it is traced (`trace`): a list of tables with
--- instance, hook, kind .., verdict, cpu_us, wait_us. nil otherwise.
--- phases: all   yields: no
--- @return table|nil
function methods.trace(self)
    return self[1] and decision.trace(self)
end

-- ---------------------------------------------------------------- wrappers

local conn_get = {}
function conn_get.id(self) return tonumber(self[1][1].x.conn_id) end
function conn_get.requests(self) return tonumber(self[1][1].x.conn_requests) end

-- enum rp_abi_tls_text and rp_abi_tls_number
local CLIENT_TEXTS = { subject = 4, issuer = 5, serial = 6, fingerprint = 7, pem = 8 }
local IS_TLS, RESUMED, HAS_CERT, VERIFIED, EXPIRES, EARLY = 0, 1, 2, 3, 4, 5

local function tls_text(r, what)
    if C.rp_abi_req_tls_text(H, r, what) then return ffi_string(H.out.ptr, H.out.len) end
    return nil
end

local function client_cert(r)
    if C.rp_abi_req_tls_number(r, HAS_CERT) == 0 then return nil end
    local cert = { verified = C.rp_abi_req_tls_number(r, VERIFIED) == 1,
        expires = C.rp_abi_req_tls_number(r, EXPIRES), sans = {} }
    for name, what in pairs(CLIENT_TEXTS) do cert[name] = tls_text(r, what) end
    while C.rp_abi_req_tls_name(H, r, #cert.sans) do
        cert.sans[#cert.sans + 1] = ffi_string(H.out.ptr, H.out.len)
    end
    return cert
end

--- A fresh table with what the connection's TLS agreed on; nil without TLS.
function conn_get.tls(self)
    local r = self[1][1]
    if C.rp_abi_req_tls_number(r, IS_TLS) == 0 then return nil end
    return { sni = tls_text(r, 0), alpn = tls_text(r, 1), version = tls_text(r, 2),
        cipher = tls_text(r, 3), resumed = C.rp_abi_req_tls_number(r, RESUMED) == 1,
        early = C.rp_abi_req_tls_number(r, EARLY) == 1, client_cert = client_cert(r) }
end

--- What the hooks of the connection's TLS handshake left for its requests; nil where none ran.
function conn_get.ctx(self)
    local known = guest.of(self[1][1])
    return known and known.ctx
end

--- Fingerprint of the client's program (JA4); nil where no TLS hook is.
function conn_get.ja4(self)
    local known = guest.of(self[1][1])
    return known and known.ja4
end

--- The server name that it asked for.
function conn_get.sni(self)
    return tls_text(self[1][1], 0)
end

local Conn = object.class("conn", {}, conn_get, {}, response.is_foreign)
for name, method in pairs(answer.methods) do methods[name] = method end
for name, method in pairs(events.methods) do methods[name] = method end
local Request = object.class("req", methods, get, set, function(self)
    return rawget(self, 14) ~= H.wrapper
end, function(self)
    return rawget(self, 14) == H.wrapper and rawget(self, 9)
end)
outside.class("req", methods, { meta = Request, fields = {} })

--- The wrapper of a request slot. Called by C, once per slot.
--- @param pointer userdata  struct rp_req *
--- @param dirty userdata  uint8_t[2], see rproxy.object
--- @param number number  its own
--- @param place number  the slot's, see rproxy.chain
function M.wrap(pointer, dirty, number, place)
    local r = abi.cast("struct rp_req *", pointer)
    local self = new_table(14, 0) -- nothing is ever in its hash part, which compiled code knows
    self[6], self[7] = up.new(self), response.new(self)
    self[9], self[10] = r, abi.cast("uint8_t *", dirty)
    self[11], self[14] = false, number
    self[8] = setmetatable({ self }, Conn)
    chain.place(place, self)
    return setmetatable(self, Request)
end

return M
