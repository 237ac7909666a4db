-- SPDX-License-Identifier: MIT
--
-- up: req.up, what goes upstream; the second argument of balance hooks. Also handles of upstreams.

local abi = require("rproxy.abi")
local grant = require("rproxy.grant")
local header = require("rproxy.header")
local journal = require("rproxy.journal")
local object = require("rproxy.object")
local tls = require("rproxy.tls")
local wish = require("rproxy.wish")

local C, H, E = abi.C, abi.H, abi.E
local ffi_string = abi.string
local raise = object.raise
local rawget = rawget

local M = {}

local UP_PATH, UP_HOST, UP_PEER, UP_ERROR = 8, 9, 10, 12 -- enum rp_abi_text

-- ---------------------------------------------------------------- upstreams by name

local CIRCUITS = { [0] = "closed", "open", "half-open" } -- enum rp_circuit

local of_upstream = {}
local Upstream = { __tostring = function(u) return u.name end, __index = of_upstream }
local handles = {}

--- A handle for an upstream; whether it exists shows when it is used.
function M.handle(name)
    local handle = handles[name]
    if not handle then
        handle = setmetatable({ name = name }, Upstream)
        handles[name] = handle
    end
    return handle
end

--- The site is gone: indexes are another one's.
function M.forget_site()
    for _, handle in pairs(handles) do handle.index = nil end
end

--- Index of a handle or name; raises when there is no such upstream.
function M.index(value)
    local handle = value
    if type(value) == "string" then handle = M.handle(value) end
    if type(handle) ~= "table" or type(handle.name) ~= "string" then
        raise("an upstream is a name or a handle of rp.upstreams, got %s", tostring(value))
    end
    local index = handle.index
    if not index then
        index = C.rp_abi_upstream_find(H, handle.name, #handle.name)
        if index < 0 then raise("no upstream %q in this site", handle.name) end
        if getmetatable(handle) == Upstream then handle.index = index end
    end
    return index
end

--- State of the upstream's circuit as all workers see it: "closed", "open" or "half-open"; nil
--- where it has none.
--- phases: any   yields: no
function of_upstream.circuit(handle)
    return CIRCUITS[C.rp_abi_upstream_circuit(H, M.index(handle))]
end

--- Name of a handle, or the name itself.
function M.name_of(value)
    return type(value) == "table" and value.name or value
end

--- rp.upstreams: rp.upstreams.name.
M.upstreams = setmetatable({}, {
    __index = function(_, name) return M.handle(name) end,
    __newindex = function() raise("rp.upstreams cannot be changed") end,
})

-- ---------------------------------------------------------------- fields

local get, set, methods = {}, {}, {}

local function text(self, what)
    if C.rp_abi_req_text(H, self[1][1], what) then return ffi_string(H.out.ptr, H.out.len) end
end

function get.path(self) return text(self, UP_PATH) end
function get.host(self) return text(self, UP_HOST) end
function get.peer_name(self) return text(self, UP_PEER) end

--- Number of this attempt, from 1.
function get.attempt(self)
    return self[1][1].tries + 1
end

--- Why the last attempt failed, a word as in the access log's reason; nil in the first.
function get.last_error(self) return text(self, UP_ERROR) end

local function assign(self, what, name, value)
    if type(value) ~= "string" then raise("up.%s takes a string", name) end
    local code = C.rp_abi_req_assign(H, self[1][1], what, value, #value)
    if code == 0 then
        if H.notes ~= 0 then journal.note(self[1], "assign", "up." .. name, value) end
        return
    end
    if code == E.PHASE then raise("up.%s can be assigned in access, rewrite and balance", name) end
    if code == E.INVALID then raise("up.%s: %q is no valid %s", name, value, name) end
    raise("up.%s: %s", name, abi.text(code))
end

function set.path(self, value) assign(self, UP_PATH, "path", value) end
function set.host(self, value) assign(self, UP_HOST, "host", value) end

-- ---------------------------------------------------------------- headers

-- Locals, as in response.lua.
local edit, first, SET = header.edit, header.first, header.SET
local up_edit = C.rp_abi_up_edit

function methods.get(self, h)
    return first(self[1][1].up_head, h)
end

function methods.get_all(self, h)
    return header.all(self[1][1].up_head, h)
end

function methods.headers(self)
    return header.walk(self[1][1].up_head)
end

--- Replace a header that goes upstream; nil removes it.
--- phases: early access rewrite balance   yields: no
function methods.set(self, h, value)
    edit(up_edit, self[1], "up", SET, h, value)
end

function methods.add(self, h, value)
    if value == nil then raise("up:add takes a value") end
    edit(up_edit, self[1], "up", header.ADD, h, value)
end

function methods.del(self, h)
    edit(up_edit, self[1], "up", header.DEL, h, nil)
end

-- ---------------------------------------------------------------- peers

--- Send this attempt to a peer of the upstream by name, or to an address.
--- phases: balance   yields: no
--- @param name string  as in peers, or an IP address
--- @param port number|nil  with an IP address
function methods.peer(self, name, port)
    if type(name) ~= "string" then raise("up:peer takes a peer's name, or an IP and a port") end
    if port ~= nil and (type(port) ~= "number" or port < 1 or port > 65535) then
        raise("up:peer: %s is no port", tostring(port))
    end
    if port then grant.net(name, port) end
    local code = C.rp_abi_up_pick(self[1][1], name, #name, port or 0)
    if code == E.PHASE then raise("up:peer can be called in balance") end
    if code ~= 0 then
        raise("up:peer: %q is no %s", name, port and "IP address" or "peer of this upstream")
    end
    if H.notes ~= 0 then
        journal.put(self[1], { kind = "pick", what = "up.peer", value = name, port = port })
    end
end

--- Keep a peer from being chosen for this request.
--- phases: balance   yields: no
function methods.exclude(self, name)
    local code = C.rp_abi_up_exclude(self[1][1], name, #name)
    if code == E.PHASE then raise("up:exclude can be called in balance") end
    if code == E.NOT_FOUND then raise("up:exclude: %q is no peer of this upstream", name) end
    if H.notes ~= 0 then journal.note(self[1], "exclude", "up.peer", name) end
end

--- Only peers of which this is said, in attempts to come; keys are those that the upstream lists in
--- its `subsets`, others do not matter. nil: as the route says.
--- phases: access rewrite balance   yields: no
--- @param map table<string, string>|nil  { version = "v2" }
function methods.subset(self, map)
    if map ~= nil and type(map) ~= "table" then raise("up:subset takes a table, or nil") end
    local wished = map and wish.text(map) or ""
    if map and wished == "" then raise("up:subset: the table is empty") end
    local code = C.rp_abi_up_subset(self[1][1], wished, #wished)
    if code == E.PHASE then raise("up:subset can be called in access, rewrite and balance") end
    if code == E.INVALID then raise("up:subset: keys and values are texts of 1 to 256 bytes") end
    if code ~= 0 then raise("up:subset: %s", abi.text(code)) end
    if H.notes ~= 0 then
        journal.note(self[1], "assign", "up.subset", (wished:gsub("\t", " ")))
    end
end

--- Speak TLS with the peer as these settings say, in attempts to come, whatever the upstream says.
--- Such a connection is this request's alone, in HTTP/1.1, with a handshake of its own.
--- phases: access rewrite balance   yields: no
--- @param settings table|true|nil  of rp.tls, or what it takes; nil: as the upstream says
function methods.tls(self, settings)
    local client = tls.client(settings)
    local code = C.rp_abi_up_tls(self[1][1], client)
    if code == E.PHASE then raise("up:tls can be called in access, rewrite and balance") end
    if code ~= 0 then raise("up:tls: %s", abi.text(code)) end
    if H.notes ~= 0 then journal.note(self[1], "assign", "up.tls", client and "own" or nil) end
end

local Up = object.class("up", methods, get, set, function(self)
    return rawget(rawget(self, 1), 14) ~= H.wrapper
end)

--- req.up of a wrapper.
function M.new(wrapper)
    return setmetatable({ wrapper }, Up)
end

return M
