-- SPDX-License-Identifier: MIT
--
-- x509: certificates as values (RFC 5280).

local abi = require("rproxy.abi")
local object = require("rproxy.object")
local time = require("rproxy.time")

local C, H = abi.C, abi.H
local raise = object.raise

local M = {}

local SANS_MOST = 100
-- enum rp_abi_x509_text, rp_abi_x509_number
local TEXTS = { subject = 0, issuer = 1, serial = 2, fingerprint = 3, pem = 4, der = 5 }
local NUMBERS = { not_before = 0, not_after = 1, version = 3 }
local IS_CA = 2

local methods = {}

local function sans(pointer)
    local list = {}
    for i = 0, SANS_MOST - 1 do
        if not C.rp_abi_x509_san(H, pointer, i) then break end
        local name = abi.out()
        if name ~= "" then list[#list + 1] = name end
    end
    return list
end

-- Fields are read from the certificate when they are first asked for, and kept.
local function read(self, name)
    local pointer = rawget(self, 1)
    if TEXTS[name] then return C.rp_abi_x509_text(H, pointer, TEXTS[name]) and abi.out() or "" end
    if NUMBERS[name] then return C.rp_abi_x509_number(pointer, NUMBERS[name]) end
    if name == "is_ca" then return C.rp_abi_x509_number(pointer, IS_CA) == 1 end
    if name == "sans" then return sans(pointer) end
    return nil
end

local Cert = { __metatable = "certificate" }

function Cert.__index(self, name)
    if methods[name] then return methods[name] end
    local value = read(self, name)
    if value == nil and type(name) == "string" then raise("a certificate has no %q", name) end
    rawset(self, name, value)
    return value
end

--- A certificate from PEM (the first one in it) or DER.
--- @return table|nil cert, string|nil err
function M.new(source)
    if type(source) ~= "string" then raise("crypto.x509 takes the text of a certificate") end
    local pointer = C.rp_abi_x509_new(H, source, #source)
    if pointer == nil then return nil, abi.out() end
    return setmetatable({ abi.gc(pointer, C.rp_abi_x509_free) }, Cert)
end

--- Is it made out to this host ("a.example.com"), or this address? By its alternative names only.
function methods:is_for(name)
    if type(name) ~= "string" then raise("cert:is_for takes a name or an address") end
    local scratch = abi.new("char[16]")
    local is_ip = C.rp_abi_ip_parse(H, name, #name, scratch) == 0
    return C.rp_abi_x509_is_for(rawget(self, 1), name, #name, is_ip)
end

--- Its key, as rp.crypto.verifier makes them.
function methods:public_key()
    return M.key_of(C.rp_abi_x509_key(H, rawget(self, 1))) -- crypto.lua puts it there
end

--- Does it lead to one of these authorities?
--- @param cas table  from rp.crypto.x509_store
--- @param opts table|nil  chain (PEM of what is between), purpose ("server", "client"; any),
---   time (now), name (a host or an address that it must be made out to)
--- @return boolean valid, string|nil why
function methods:verify(cas, opts)
    opts = opts or {}
    if type(cas) ~= "table" or cas.store == nil then raise("cert:verify takes a store of CAs") end
    local purpose, chain = opts.purpose or "any", opts.chain or ""
    if purpose ~= "any" and purpose ~= "server" and purpose ~= "client" then
        raise('cert:verify: purpose is "server" or "client"')
    end
    local code = C.rp_abi_x509_verify(H, rawget(self, 1), cas.store, chain, #chain, purpose,
        opts.time or time.time())
    if code ~= 0 then return false, abi.out() end
    if opts.name and not self:is_for(opts.name) then return false, "made out to another name" end
    return true
end

--- Authorities to verify with: PEM of their certificates.
--- @return table|nil store, string|nil err
function M.store(pem)
    if type(pem) ~= "string" then raise("crypto.x509_store takes PEM") end
    local pointer = C.rp_abi_x509_store_new(H, pem, #pem)
    if pointer == nil then return nil, abi.out() end
    return { store = abi.gc(pointer, C.rp_abi_x509_store_free) }
end

return M
