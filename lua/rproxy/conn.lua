-- SPDX-License-Identifier: MIT
--
-- conn: what the hooks connect(conn) and log(conn) of a stream see of a relayed connection.
--
-- A wrapper is a table: [1] struct rp_stream *, nil once it has ended   [2] ctx

local abi = require("rproxy.abi")
local journal = require("rproxy.journal")
local object = require("rproxy.object")
local up = require("rproxy.up")

local C, H, E = abi.C, abi.H, abi.E
local ffi_string, raise, tonumber = abi.string, object.raise, tonumber

local M = {}

-- enum rp_abi_conn_text, enum rp_abi_conn_number
local REMOTE_IP, LISTENER, SNI, UPSTREAM, PEER, REASON, TRANSPORT = 0, 1, 2, 3, 4, 5, 6
local PORT, BYTES_UP, BYTES_DOWN, DURATION, TRIES = 0, 1, 2, 3, 4
local DATAGRAMS_UP, DATAGRAMS_DOWN = 5, 6

local get, set, methods = {}, {}, {}

local function text(what)
    return function(self)
        if C.rp_abi_conn_text(H, self[1], what) then return ffi_string(H.out.ptr, H.out.len) end
        return nil
    end
end

local function number(what)
    return function(self) return tonumber(C.rp_abi_conn_number(self[1], what)) end
end

get.remote_ip, get.peer_ip = text(REMOTE_IP), text(REMOTE_IP)
get.listener, get.sni, get.peer, get.reason = text(LISTENER), text(SNI), text(PEER), text(REASON)
get.transport = text(TRANSPORT)
get.datagrams_up, get.datagrams_down = number(DATAGRAMS_UP), number(DATAGRAMS_DOWN)
get.port, get.tries = number(PORT), number(TRIES)
get.bytes_up, get.bytes_down, get.duration = number(BYTES_UP), number(BYTES_DOWN), number(DURATION)

-- Whatever the texts of one kind are that C gives by index; nil when there are none.
function M.texts(text_at, pointer)
    local list
    while text_at(H, pointer, list and #list or 0) do
        list = list or {}
        list[#list + 1] = ffi_string(H.out.ptr, H.out.len)
    end
    return list
end

--- Protocols of the client's ALPN list in its order; nil when it sent none. Connect hooks only.
function get.alpn(self)
    return M.texts(C.rp_abi_conn_alpn, self[1])
end

--- A table of one's own that lives as long as the connection (a reload empties it).
function M.ctx(self)
    local ctx = rawget(self, 2)
    if H.notes == journal.ONLY then return require("rproxy.shadow").ctx(self) end
    if not ctx then
        if not self[1] then raise("this conn has ended") end
        ctx = {}
        rawset(self, 2, ctx)
    end
    return ctx
end
get.ctx = M.ctx

get.upstream = text(UPSTREAM)

--- Where it goes; a name or a handle of rp.upstreams. Connect hooks only.
function set.upstream(self, value)
    local code = C.rp_abi_conn_set_upstream(self[1], up.index(value))
    if code == 0 then
        if H.notes ~= 0 then journal.note_conn("assign", "upstream", up.name_of(value)) end
        return
    end
    if code == E.PHASE then raise("conn.upstream can be assigned in connect") end
    if code == E.INVALID then
        raise("conn.upstream: %s " .. (self.transport == "udp"
            and "takes no datagrams (unix sockets, PROXY header, TLS or balance hook)"
            or "has a balance hook, which chooses by request"), tostring(value))
    end
    raise("conn.upstream: %s", abi.text(code))
end

--- Refuse the connection: return conn:deny().
function methods.deny()
    return true
end

local Conn = object.class("conn", methods, get, set)

--- A wrapper for a connection; C calls it once for each that meets a hook.
function M.wrap(pointer)
    return setmetatable({ abi.cast("struct rp_stream *", pointer) }, Conn)
end

return M
