-- SPDX-License-Identifier: MIT
--
-- sink: what build writes to when there is a C side: the builder of proxy/conf.h by its ABI, and
-- the script layer's chains. Every method returns a value, or nil and what is wrong.

local abi = require("rproxy.abi")
local chain = require("rproxy.chain")
local grant = require("rproxy.grant")
local schema = require("rproxy.schema")
local shared = require("rproxy.shared")
local zones = require("rproxy.config.zones")

local C = abi.C

local M = {}

local Sink = {
    -- enums of the headers, by the words that the configuration uses
    LEVELS = { debug = 0, info = 1, notice = 2, warn = 3, error = 4, alert = 5 },
    ACTIONS = { upstream = 0, respond = 1, redirect = 2, content = 3, connect = 4 },
    BALANCE_HOOK = 1,
    NO_HOST = 2 ^ 32 - 1,
    EACH_UPSTREAM = 2 ^ 31 - 1, -- RP_CONF_EACH_UPSTREAM
    LEVEL = { site = 0, host = 1, route = 2 },
}
Sink.__index = Sink

local PHASES = { early = 0, access = 1, rewrite = 2, content = 3, balance = 4, request_body = 5,
    header_filter = 6, body_filter = 7, log = 8 }
local ON_ERROR = { ["500"] = 0, open = 1, closed = 2 }
local FORMATS = { combined = 0, json = 1 }
local EDITS = { set = 0, add = 1, remove = 2 }
local STREAM_RULES = { sni = 0, alpn = 1 }
local NO_UPSTREAM = 2 ^ 32 - 1
local COND_KINDS = { header = 0, query = 1, source = 2, cookie = 3 }
local COND_OPS = { exists = 0, equals = 1, prefix = 2, regex = 3, ["in"] = 4 }

-- The builder's own words where it has some, else those of the code.
local function answer(self, code, value)
    if code == abi.OK then return value end
    local text = self.fault and abi.string(self.fault.text) or ""
    return nil, text ~= "" and text or abi.text(code)
end

local function fault(self)
    self.fault = self.fault or abi.new("struct rp_conf_error")
    self.fault.code, self.fault.text[0] = 0, 0
    return self.fault
end

local function index_of(self, code)
    return answer(self, code, tonumber(self.index[0]))
end

-- A key that the tables of conf.tbl do not have is an option whose C side is not there.
local function set(self, code, key, value)
    if code == abi.E.NOT_FOUND then return nil, "not built yet; remove it" end
    if code == abi.E.INVALID then
        return nil, ("%s is out of bounds (%s)"):format(schema.show(value), key)
    end
    fault(self)
    return answer(self, code, true)
end

-- ---------------------------------------------------------------- site

function Sink:number(key, value)
    return set(self, C.rp_abi_conf_set_number(self.conf, key, #key, value), key, value)
end

function Sink:text(key, value)
    return set(self, C.rp_abi_conf_set_text(self.conf, key, #key, value, #value), key, value)
end

function Sink:listener(address, redirect_https)
    return index_of(self, C.rp_abi_conf_add_listener(self.conf, address, #address,
        redirect_https, self.index, fault(self)))
end

function Sink:set_listener(index, key, value)
    return set(self, C.rp_abi_conf_set_listener(self.conf, index, key, #key, value), key, value)
end

-- ---------------------------------------------------------------- TLS

local PROFILES = { intermediate = 0, modern = 1 }
local ASKS = { none = 0, optional = 1, required = 2, any = 3 }
Sink.PROFILES, Sink.ASKS = PROFILES, ASKS

function Sink:tls()
    fault(self)
    return index_of(self, C.rp_abi_conf_add_tls(self.conf, self.index))
end

function Sink:set_tls(index, key, value)
    return set(self, C.rp_abi_conf_set_tls(self.conf, index, key, #key, value), key, value)
end

function Sink:set_tls_text(index, key, value)
    return set(self, C.rp_abi_conf_set_tls_text(self.conf, index, key, #key, value, #value),
        key, value)
end

function Sink:tls_cas(index, path)
    return answer(self, C.rp_abi_conf_tls_cas(abi.H, self.conf, index, path, #path, fault(self)),
        true)
end

function Sink:tls_crl(index, path)
    return answer(self, C.rp_abi_conf_tls_crl(abi.H, self.conf, index, path, #path, fault(self)),
        true)
end

--- The OCSP answer of the certificate that was added last; file "": the one beside it, if any.
function Sink:staple(index, cert, file)
    return answer(self, C.rp_abi_conf_add_staple(abi.H, self.conf, index, cert, #cert, file, #file,
        fault(self)), true)
end

function Sink:tls_server(index)
    return answer(self, C.rp_abi_conf_make_tls_server(self.conf, index, fault(self)), true)
end

--- The files that a pattern names, in order.
function Sink:cert_list(pattern)
    local text, err = abi.host.read(pattern)
    if not text then return nil, err or "no such file" end
    local list = {}
    for path in text:gmatch("[^\n]+") do list[#list + 1] = path end
    return list
end

--- False: a file of a list that holds no certificate.
function Sink:cert(index, cert, key, listed)
    local code = C.rp_abi_conf_add_cert(abi.H, self.conf, index, cert, #cert, key, #key, listed,
        fault(self))
    if code == abi.END then return false end
    return answer(self, code, true)
end

function Sink:use_tls(listener, index)
    fault(self)
    return answer(self, C.rp_abi_conf_use_tls(self.conf, listener, index), true)
end

function Sink:tls_client(index, upstream, cert, key)
    return answer(self, C.rp_abi_conf_make_tls_client(abi.H, self.conf, index, upstream, cert,
        #cert, key, #key, fault(self)), true)
end

-- ---------------------------------------------------------------- trust

function Sink:trust(cidr)
    return answer(self, C.rp_abi_conf_add_trust(self.conf, cidr, #cidr, fault(self)), true)
end

function Sink:file(path)
    fault(self)
    return index_of(self, C.rp_abi_conf_add_file(self.conf, path, #path, self.index))
end

--- @param zone table  name, kind, bytes; set: type, file, every
function Sink:zone(zone)
    fault(self)
    local tag = shared.declare(zone.name, zone.kind, zone.set)
    return answer(self, C.rp_abi_conf_add_zone(self.conf, zone.name, #zone.name,
        zones.KINDS[zone.kind], zone.bytes, tag), true)
end

function Sink:access_log(file, format, buffer_bytes, flush_ms)
    fault(self)
    return answer(self, C.rp_abi_conf_set_access_log(self.conf, file, FORMATS[format],
        buffer_bytes, flush_ms), true)
end

function Sink:access_field(name)
    return answer(self, C.rp_abi_conf_add_access_field(self.conf, name, #name, fault(self)), true)
end

-- ---------------------------------------------------------------- upstreams

function Sink:upstream(name)
    return index_of(self, C.rp_abi_conf_add_upstream(self.conf, name, #name, self.index,
        fault(self)))
end

function Sink:set_upstream(index, key, value)
    return set(self, C.rp_abi_conf_set_upstream(self.conf, index, key, #key, value), key, value)
end

function Sink:set_upstream_text(index, key, value)
    return set(self, C.rp_abi_conf_set_upstream_text(self.conf, index, key, #key, value, #value),
        key, value)
end

function Sink:peer(upstream, text, weight, backup)
    return answer(self, C.rp_abi_conf_add_peer(self.conf, upstream, text, #text, weight, backup,
        fault(self)), true)
end

--- Of the peer added last.
function Sink:set_peer(upstream, key, value)
    return answer(self, C.rp_abi_conf_set_peer(self.conf, upstream, key, #key, value), true)
end

function Sink:set_peer_text(upstream, key, value)
    return answer(self, C.rp_abi_conf_set_peer_text(self.conf, upstream, key, #key, value, #value),
        true)
end

function Sink:add_statuses(upstream, retry, low, high)
    return answer(self, C.rp_abi_conf_add_statuses(self.conf, upstream, retry, low, high), true)
end

function Sink:add_hash(upstream, part, name)
    return answer(self, C.rp_abi_conf_add_hash(self.conf, upstream, part, name, #name), true)
end

--- All upstreams are there (name -> index): rp.upstreams finds them through the ABI.
function Sink:upstreams() end

-- ---------------------------------------------------------------- streams

function Sink:stream()
    fault(self)
    return index_of(self, C.rp_abi_conf_add_stream(self.conf, self.index))
end

function Sink:set_stream(index, key, value)
    return set(self, C.rp_abi_conf_set_stream(self.conf, index, key, #key, value), key, value)
end

function Sink:stream_listener(index, address)
    return index_of(self, C.rp_abi_conf_add_stream_listener(self.conf, index, address, #address,
        self.index, fault(self)))
end

function Sink:stream_rule(index, kind, name, upstream)
    return answer(self, C.rp_abi_conf_add_stream_rule(self.conf, index, STREAM_RULES[kind], name,
        #name, upstream or NO_UPSTREAM, fault(self)), true)
end

-- ---------------------------------------------------------------- hosts and routes

function Sink:host(is_default)
    fault(self)
    return index_of(self, C.rp_abi_conf_add_host(self.conf, is_default, self.index))
end

function Sink:set_host_text(host, key, value)
    return set(self, C.rp_abi_conf_set_host_text(self.conf, host, key, #key, value, #value), key,
        value)
end

function Sink:ask_clients(host, tls, name)
    return answer(self, C.rp_abi_conf_ask_clients(self.conf, host, tls, name, #name, fault(self)),
        true)
end

function Sink:ask_no_clients(name)
    return answer(self, C.rp_abi_conf_ask_no_clients(self.conf, name, #name), true)
end

function Sink:host_name(host, name)
    return answer(self, C.rp_abi_conf_add_host_name(self.conf, host, name, #name, fault(self)),
        true)
end

function Sink:route(host, methods, pattern, is_fallback)
    return index_of(self, C.rp_abi_conf_add_route(self.conf, host, methods, #methods, pattern,
        #pattern, is_fallback, self.index, fault(self)))
end

function Sink:set_route(route, key, value)
    return set(self, C.rp_abi_conf_set_route(self.conf, route, key, #key, value), key, value)
end

function Sink:set_route_text(route, key, value)
    return set(self, C.rp_abi_conf_set_route_text(self.conf, route, key, #key, value, #value),
        key, value)
end

function Sink:edit(route, kind, response, name, value)
    return answer(self, C.rp_abi_conf_add_edit(self.conf, route, EDITS[kind], response, name,
        #name, value, #value, fault(self)), true)
end

function Sink:cond(route, kind, op, negate, name, value)
    return answer(self, C.rp_abi_conf_add_cond(self.conf, route, COND_KINDS[kind], COND_OPS[op],
        negate, name, #name, value, #value, fault(self)), true)
end

function Sink:split(name)
    fault(self)
    return index_of(self, C.rp_abi_conf_add_split(self.conf, name, #name, self.index))
end

function Sink:split_side(split, upstream, share)
    fault(self)
    return answer(self, C.rp_abi_conf_add_split_side(self.conf, split, upstream, share), true)
end

function Sink:split_step(split, share)
    fault(self)
    return answer(self, C.rp_abi_conf_add_split_step(self.conf, split, share), true)
end

function Sink:split_hash(split, part, name)
    fault(self)
    return answer(self, C.rp_abi_conf_add_split_hash(self.conf, split, part, name, #name), true)
end

function Sink:split_rule(split, upstream)
    fault(self)
    return answer(self, C.rp_abi_conf_add_split_rule(self.conf, split, upstream), true)
end

--- Of the rule added last.
function Sink:split_cond(split, kind, op, negate, name, value)
    return answer(self, C.rp_abi_conf_add_split_cond(self.conf, split, COND_KINDS[kind],
        COND_OPS[op], negate, name, #name, value, #value, fault(self)), true)
end

function Sink:set_split(split, key, value)
    return set(self, C.rp_abi_conf_set_split(self.conf, split, key, #key, value), key, value)
end

function Sink:set_split_text(split, key, value)
    return set(self, C.rp_abi_conf_set_split_text(self.conf, split, key, #key, value, #value),
        key, value)
end

--- An entry of what a CONNECT may reach; deny: of what it never may.
function Sink:connect(route, deny, text)
    return answer(self, C.rp_abi_conf_add_connect(self.conf, route, deny, text, #text,
        fault(self)), true)
end

--- The text of a file that error_pages names.
function Sink:page_file(path)
    local text, err = abi.host.read(path)
    if text then return text end
    return nil, err or "no such file"
end

function Sink:page(level, index, which, kind, body)
    return answer(self, C.rp_abi_conf_add_page(self.conf, self.LEVEL[level], index, which, #which,
        kind, #kind, body, #body, fault(self)), true)
end

-- ---------------------------------------------------------------- plugins and chains

function Sink:plugin(name, on_error)
    fault(self)
    return index_of(self, C.rp_abi_conf_add_plugin(self.conf, name, #name, ON_ERROR[on_error],
        self.index))
end

--- What code of the instance may do; nil: everything.
function Sink:policy(index, policy)
    grant.install(index, policy)
end

--- The instance whose code runs from now on; nil: nobody's.
function Sink:running(index)
    abi.H.at = index and index + 1 or 0
end

function Sink:set_plugin(index, key, value)
    return answer(self, C.rp_abi_conf_set_plugin(self.conf, index, key, #key, value), true)
end

--- The instance is a shadow.
function Sink:shadow_plugin(index)
    return answer(self, C.rp_abi_conf_set_plugin(self.conf, index, "shadow", 6, 1), true)
end

function Sink:chain(phase, list)
    local handlers = {}
    for i, entry in ipairs(list) do handlers[i] = { entry.fn, entry.plugin } end
    return chain.make(phase, handlers)
end

function Sink:route_chain(route, phase, ref)
    fault(self)
    return answer(self, C.rp_abi_conf_set_route_chain(self.conf, route, PHASES[phase], ref), true)
end

function Sink:site_chain(phase, ref)
    fault(self)
    return answer(self, C.rp_abi_conf_set_site_chain(self.conf, PHASES[phase], ref), true)
end

function Sink:meta(value)
    return chain.keep(value)
end

--- A hook of the layer itself.
function Sink:hook(what, fn)
    chain.on(what, fn, -1)
    return true
end

function Sink:lifecycle(life)
    for _, what in ipairs { "start", "stop" } do
        for _, hook in ipairs(life[what]) do chain.on(what, hook.fn, hook.plugin) end
    end
end

--- @param conf cdata  struct rp_conf *, not frozen
function M.new(conf)
    return setmetatable({ conf = conf, index = abi.new("uint32_t[1]") }, Sink)
end

return M
