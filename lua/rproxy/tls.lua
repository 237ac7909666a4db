-- SPDX-License-Identifier: MIT
--
-- tls: TLS as a client, for sockets and HTTP clients: rp.tls { .. } makes settings once, and
-- `tls = true` or `tls = { .. }` without files makes them where they are used first.

local abi = require("rproxy.abi")
local grant = require("rproxy.grant")
local loader = require("rproxy.loader")
local lru = require("rproxy.lru")
local nearest = require("rproxy.config.nearest")
local object = require("rproxy.object")

local C, H = abi.C, abi.H
local raise = object.raise

local M = {}

local NAMES = { verify = "boolean", sni = "string", name = "string", ca = "string",
    cert = "string", key = "string" }
local TEXTS = { "sni", "name", "ca", "cert", "key" }
local FILES = { ca = true, cert = true, key = true }
local MADE_MOST = 64

local Settings = {}
Settings.__index = Settings
Settings.__metatable = "rp.tls"

local made -- text of the settings -> client

local function check(opts)
    if type(opts) ~= "table" then raise("rp.tls takes a table of settings") end
    for name, value in pairs(opts) do
        local wanted = NAMES[name]
        if not wanted then
            raise("rp.tls: unknown setting %q%s", tostring(name),
                nearest.hint(tostring(name), nearest.names(NAMES)))
        elseif type(value) ~= wanted then
            raise("rp.tls: %s is a %s, got a %s", name, wanted, type(value))
        elseif wanted == "string" and (value == "" or value:find("[%z\r\n]")) then
            raise("rp.tls: %s is no text that could be meant", name)
        elseif (name == "sni" or name == "name") and #value > 255 then
            raise("rp.tls: %s is longer than a name can be", name)
        end
    end
    if (opts.cert == nil) ~= (opts.key == nil) then raise("rp.tls: cert and key go together") end
    for name in pairs(FILES) do
        if opts[name] then grant.fs("read", opts[name]) end
    end
end

local function make(opts)
    local text = {}
    for i, name in ipairs(TEXTS) do
        local value = opts[name]
        text[i] = value and FILES[name] and loader.path_of(value) or value or ""
    end
    local sni, name, ca, cert, key = unpack(text)
    local client = C.rp_abi_tls_client_new(H, opts.verify ~= false, sni, #sni, name, #name, ca, #ca,
        cert, #cert, key, #key)
    if client == nil then raise("tls: %s", abi.out()) end
    return abi.gc(client, C.rp_abi_tls_client_free)
end

-- One for all who say the same.
local function find_or_make(opts)
    local key = { tostring(opts.verify ~= false) }
    for _, name in ipairs(TEXTS) do key[#key + 1] = opts[name] or "" end
    key = table.concat(key, "\0")
    made = made or lru.new(MADE_MOST)
    local client = made:get(key)
    if not client then
        client = make(opts)
        made:set(key, client)
    end
    return client
end

--- Settings, made once: at load, where files can be read.
--- @param opts table  verify (true), name, sni, ca, cert, key
--- @return table settings  for `tls =` of rp.tcp.connect and rp.http.client
function M.settings(opts)
    check(opts)
    return setmetatable({ find_or_make(opts) }, Settings)
end

--- What C takes for `tls = given`. For the layer only.
--- @param given boolean|table|nil
--- @return userdata|nil client  nil: plain
function M.client(given)
    if not given then return nil end
    if given == true then return find_or_make({}) end
    if getmetatable(given) == Settings.__metatable then return given[1] end
    check(given)
    return find_or_make(given)
end

return M
