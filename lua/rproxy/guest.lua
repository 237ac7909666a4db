-- SPDX-License-Identifier: MIT
--
-- guest: what the hooks tls_hello(conn) and certificate(conn) see of a client during its handshake,
-- and what requests of its connection find of it in req.conn.
--
-- A wrapper is a table: [1] struct rp_guest *, nil once its connection ended; [2] ctx, or false.
-- Further fields of it are what a hook chose.

local abi = require("rproxy.abi")
local conn = require("rproxy.conn")
local journal = require("rproxy.journal")
local object = require("rproxy.object")

local C, H, E, host = abi.C, abi.H, abi.E, abi.host
local ffi_string, raise, tonumber = abi.string, object.raise, tonumber

local M = {}

--- Wrappers by number; C knows it.
M.known = {}

-- enum rp_abi_guest_text, enum rp_abi_guest_codes
local SNI, REMOTE_IP, LISTENER, JA4 = 0, 1, 2, 3
local CIPHERS, VERSIONS = 0, 1

local CODES_MOST = 256 -- of a list that is shown
local VERSION_NAMES = { [0x0300] = "ssl3", [0x0301] = "1.0", [0x0302] = "1.1", [0x0303] = "1.2",
    [0x0304] = "1.3" }
local MIN_VERSIONS = { ["1.2"] = 1, ["1.3"] = 2 }
local ASKS = { none = 0, optional = 1, required = 2, any = 3 }
local ALERTS = { access_denied = 49, unrecognized_name = 112, handshake_failure = 40,
    internal_error = 80 }

local get, set, methods = {}, {}, {}

local function text(what)
    return function(self)
        if C.rp_abi_guest_text(H, self[1], what) then return ffi_string(H.out.ptr, H.out.len) end
        return nil
    end
end

get.sni, get.ja4, get.listener = text(SNI), text(JA4), text(LISTENER)
get.remote_ip, get.peer_ip = text(REMOTE_IP), text(REMOTE_IP)

function get.port(self)
    return tonumber(C.rp_abi_guest_port(self[1]))
end

--- Protocols of the client's ALPN list in its order; nil when it sent none.
function get.alpn(self)
    return conn.texts(C.rp_abi_guest_alpn, self[1])
end

local room

local function codes(self, what)
    room = room or abi.new("uint16_t[?]", CODES_MOST)
    local list = {}
    for i = 1, tonumber(C.rp_abi_guest_codes(self[1], what, room, CODES_MOST)) do
        list[i] = tonumber(room[i - 1])
    end
    return list
end

--- Numbers of the cipher suites that it offers, in its order.
function get.ciphers(self)
    return codes(self, CIPHERS)
end

--- Versions that it offers, in its order: "1.3", "1.2".
function get.versions(self)
    local list = {}
    for _, code in ipairs(codes(self, VERSIONS)) do list[#list + 1] = VERSION_NAMES[code] end
    return list
end

get.ctx = conn.ctx

-- ---------------------------------------------------------------- choosing

-- code: what C said to it.
local function chosen(self, name, value, code, reasons)
    if code == 0 and H.notes == journal.ONLY then
        return journal.note_conn("assign", name, type(value) == "string" and value or nil)
    end
    if code == 0 then return rawset(self, "chosen_" .. name, value) end
    if code == E.PHASE then raise("conn.%s can be assigned in tls_hello", name) end
    raise("conn.%s: %s", name, reasons[code] or abi.text(code))
end

for _, name in ipairs { "certificate", "min_version", "client" } do
    get[name] = function(self)
        if not self[1] then raise("this conn has ended") end
        return rawget(self, "chosen_" .. name)
    end
end

--- Whose certificate is used: a name that one of the listener's has.
function set.certificate(self, name)
    if type(name) ~= "string" then
        raise("conn.certificate takes a server name, got a %s", type(name))
    end
    chosen(self, "certificate", name, C.rp_abi_guest_set_name(self[1], name, #name),
        { [E.NOT_FOUND] = ("the listener has no certificate for %q"):format(name) })
end

function set.min_version(self, version)
    local bit = MIN_VERSIONS[version]
    if not bit then raise('conn.min_version takes "1.2" or "1.3", got %s', tostring(version)) end
    chosen(self, "min_version", version, C.rp_abi_guest_set_min_version(self[1], bit), {})
end

--- Is the client asked for a certificate? As tls.client.verify of the listener.
function set.client(self, how)
    local ask = ASKS[how]
    if not ask then
        raise('conn.client takes "none", "optional", "required" or "any", got %s', tostring(how))
    end
    chosen(self, "client", how, C.rp_abi_guest_set_client(self[1], ask),
        { [E.INVALID] = "the listener does not say who may sign; set its tls.client.ca" })
end

--- Protocols that are offered to it, best first: some of the listener's.
function set.alpn(self, names)
    if type(names) ~= "table" or #names == 0 then
        raise("conn.alpn takes a list of protocols, got %s", tostring(names))
    end
    local list = {}
    for i, name in ipairs(names) do
        if type(name) ~= "string" or #name == 0 or #name > 255 then
            raise("conn.alpn[%d] is no protocol's name", i)
        end
        list[i] = string.char(#name) .. name
    end
    local wire = table.concat(list)
    chosen(self, "alpn", true, C.rp_abi_guest_set_alpn(self[1], wire, #wire),
        { [E.INVALID] = "the listener's tls.alpn does not have all of them" })
end

--- Refuse the client: return conn:refuse(...).
--- phases: tls_hello   yields: no
--- @param reason string|nil  for the log
--- @param alert string|nil  "access_denied" (unsaid), "unrecognized_name", "handshake_failure"
--- @return false
function methods.refuse(self, reason, alert)
    local code = ALERTS[alert or "access_denied"]
    if not code then raise("conn:refuse: there is no alert %q", tostring(alert)) end
    reason = reason == nil and "" or tostring(reason)
    if C.rp_abi_guest_refuse(self[1], code, reason, #reason) ~= 0 then
        raise("conn:refuse is for tls_hello; certificate returns false")
    end
    return false
end

local Guest = object.class("conn", methods, get, set)

--- A wrapper for a client; C calls it once for each whose handshake meets a hook.
function M.wrap(pointer)
    return setmetatable({ abi.cast("struct rp_guest *", pointer), false }, Guest)
end

--- The wrapper of the client whose connection a request came on; nil: no hook had a say in it.
--- @param r ffi.cdata*  struct rp_req *
function M.of(r)
    local pointer = C.rp_abi_req_guest(r)
    if pointer == nil then return nil end
    local ref = tonumber(C.rp_abi_guest_ref(H, pointer))
    if ref ~= 0 then return M.known[ref] end
    local made = M.wrap(pointer)
    host.keep_guest(made)
    return made
end

-- ---------------------------------------------------------------- certificates

local Certificate = {}
Certificate.__index = Certificate
Certificate.__metatable = "certificate"
Certificate.__tostring = function() return "certificate" end

local handles = setmetatable({}, { __mode = "k" }) -- handle -> struct rp_tls_cert *

local function read(what, given)
    local cert, key = given.pem or given.cert, given.pem or given.key
    if type(cert) ~= "string" or type(key) ~= "string" or (given.pem and (given.cert or given.key))
    then
        raise("%s takes { pem = text } or { cert = text, key = text }", what)
    end
    local made = C.rp_abi_tls_cert_new(H, cert, #cert, key, #key)
    if made == nil then return nil, abi.out() end
    return abi.gc(made, C.rp_abi_tls_cert_free)
end

local function wrap_cert(made)
    local handle = setmetatable({}, Certificate)
    handles[handle] = made
    return handle
end

--- A certificate with its chain and key, taken apart once. A list of such tables is one certificate
--- for each kind of key (EC, RSA); the client gets the one that it can verify.
--- phases: all, setup   yields: no
--- @param given table  pem, or cert and key: PEM texts
--- @return table|nil certificate, string|nil err
function M.certificate(given)
    if type(given) ~= "table" then raise("rp.tls.certificate takes a table") end
    if #given == 0 then
        local made, err = read("rp.tls.certificate", given)
        if not made then return nil, err end
        return wrap_cert(made)
    end
    local all
    for i, one in ipairs(given) do
        if type(one) ~= "table" then raise("rp.tls.certificate: [%d] is no table", i) end
        local made, err = read("rp.tls.certificate", one)
        if not made then return nil, ("[%d]: %s"):format(i, err) end
        if all then C.rp_abi_tls_cert_join(all, made) else all = made end
    end
    return wrap_cert(all)
end

local function bad(value)
    error(("certificate returned a %s, not a PEM text, a certificate, false or nil"):format(
        type(value)), 0)
end

--- Take what a certificate hook returned. Chains call it.
function M.give(self, value, ttl)
    local cert
    if type(value) == "string" then
        local err
        cert, err = read("certificate", { pem = value })
        if not cert then error("the PEM text that certificate returned: " .. err, 0) end
    elseif value ~= false then
        cert = handles[value] or bad(value)
    end
    if ttl ~= nil and (type(ttl) ~= "number" or ttl ~= ttl or ttl < 0) then
        error("certificate returned a " .. type(ttl) .. " as its time; seconds are from 0 on", 0)
    end
    local code = C.rp_abi_guest_give_cert(self[1], cert, ttl or -1)
    if code ~= 0 then error("certificate: " .. abi.text(code), 0) end
end

return M
