-- SPDX-License-Identifier: MIT
--
-- site: a frozen configuration from a short description, through the C builder alone.
--
--   local site = require("spec.support.site")
--   local s = site.new()
--   local up = s:upstream("api", { "127.0.0.1:1" })
--   local h = s:host { "example.com", "*.example.com" }        -- {} and true: the default host
--   local r = s:route(h, "GET /a/{id}", { upstream = up })
--   s:freeze()                       -- raises with the builder's words
--   s:find { host = "example.com", path = "/a/1" }  -> { id =, params = {}, miss =, allowed = {} }

local c = require("spec.support.c")
local ffi = c.ffi

local C = c.load { "proxy/conf.h", "proxy/route.h", "proxy/route_explain.h", "http/msg.h",
    "http/uri.h", "http/token.h", "net/addr.h", "base/arena.h" }

local M = {}
local Site = {}
Site.__index = Site

local NONE = 0xffffffff

local function check(err, e)
    if err == 0 then return true end
    local text = e and ffi.string(e.text) or ""
    error(("%s: %s"):format(c.err_name(err), text), 0)
end

local function u32()
    return ffi.new("uint32_t[1]")
end

--- An empty configuration under construction; freed by close() or the collector.
function M.new()
    local conf = C.rp_conf_new(1)
    local box = ffi.gc(ffi.new("struct rp_conf *[1]", conf), C.rp_conf_free)
    return setmetatable({ conf = conf, box = box, e = ffi.new("struct rp_conf_error"),
        scratch = ffi.gc(ffi.new("struct rp_arena"), C.rp_arena_reset) }, Site)
end

function Site:close()
    ffi.gc(self.box, nil)
    C.rp_conf_free(self.box)
    self.conf = nil
end

function Site:number(key, value)
    check(C.rp_conf_set_number(self.conf, c.str(key), value))
end

function Site:upstream(name, peers)
    local index = u32()
    check(C.rp_conf_add_upstream(self.conf, c.str(name), index, self.e), self.e)
    for _, peer in ipairs(peers or { "127.0.0.1:1" }) do
        check(C.rp_conf_add_peer(self.conf, index[0], c.str(peer), 1, false, self.e), self.e)
    end
    return index[0]
end

function Site:host(names, is_default)
    local index = u32()
    check(C.rp_conf_add_host(self.conf, is_default or false, index))
    for _, name in ipairs(names) do
        check(C.rp_conf_add_host_name(self.conf, index[0], c.str(name), self.e), self.e)
    end
    return index[0]
end

local KINDS = { header = "RP_COND_HEADER", query = "RP_COND_QUERY", source = "RP_COND_SOURCE" }
local OPS = { exists = "RP_COND_EXISTS", equals = "RP_COND_EQUALS", prefix = "RP_COND_PREFIX",
    regex = "RP_COND_REGEX", ["in"] = "RP_COND_IN" }

--- cond: { "header", "x-a", equals = "b", negate = true }, { "source", ["in"] = "10.0.0.0/8" }
function Site:cond(route, cond)
    for op, constant in pairs(OPS) do
        local value = cond[op]
        if value ~= nil then
            check(C.rp_conf_add_cond(self.conf, route, C[KINDS[cond[1]]], C[constant],
                cond.negate or false, c.str(cond[2] or ""), c.str(value == true and "" or value),
                self.e), self.e)
        end
    end
end

--- text: "GET,HEAD /path" or "/path". opts: id, conds, upstream; without one it answers 200.
function Site:route(host, text, opts)
    opts = opts or {}
    local methods, pattern = text:match("^([%u%l,-]+) (.*)$")
    local index = u32()
    check(C.rp_conf_add_route(self.conf, host, c.str(methods or ""), c.str(pattern or text), false,
        index, self.e), self.e)
    local action = opts.upstream and C.RP_ACTION_UPSTREAM or C.RP_ACTION_RESPOND
    check(C.rp_conf_set_route(self.conf, index[0], c.str("action"), action))
    if opts.upstream then
        check(C.rp_conf_set_route(self.conf, index[0], c.str("upstream"), opts.upstream))
    end
    check(C.rp_conf_set_route_text(self.conf, index[0], c.str("id"), c.str(opts.id or text)))
    for _, cond in ipairs(opts.conds or {}) do
        self:cond(index[0], cond)
    end
    return index[0]
end

function Site:freeze()
    check(C.rp_conf_freeze(self.conf, self.e), self.e)
    return self
end

--- What freeze says when it fails, or nil.
function Site:freeze_error()
    if C.rp_conf_freeze(self.conf, self.e) == 0 then return nil end
    return ffi.string(self.e.text)
end

local function fill_head(head, keep, req)
    local fields = ffi.new("struct rp_field[?]", 32)
    keep.fields = fields
    C.rp_msg_init(head, fields, 32, 32)
    for _, field in ipairs(req.headers or {}) do
        local name, value = c.str(field[1]), c.str(field[2])
        keep[#keep + 1] = name
        keep[#keep + 1] = value
        check(C.rp_msg_add(head, keep.arena, 0, name, value))
    end
    local method = c.str(req.method or "GET")
    keep.method = method
    head.method = C.rp_token_method(method.ptr, method.len)
    head.method_text = method
    keep.host, keep.query = c.str(req.host or ""), c.str(req.query or "")
    head.host = keep.host
    head.uri.query = keep.query
    head.uri.has_query = req.query ~= nil
    local raw = c.str(req.path or "/")
    keep.raw = raw
    head.uri.raw_path = raw
    check(C.rp_uri_normalize(keep.arena, raw, head.uri.path))
end

--- Why a request goes where it goes: the JSON text of route_explain. req as for find.
function Site:explain(req)
    local keep = { arena = ffi.gc(ffi.new("struct rp_arena"), C.rp_arena_reset) }
    C.rp_arena_init(keep.arena, nil, 0, 1048576)
    C.rp_arena_init(self.scratch, nil, 0, 1048576)
    local head, client = ffi.new("struct rp_msg"), ffi.new("struct rp_addr")
    fill_head(head, keep, req)
    if req.client then check(C.rp_addr_parse_ip(c.str(req.client), client)) end
    local story, out = ffi.new("struct rp_route_story"), ffi.new("struct rp_buf")
    check(C.rp_route_explain(self.conf, head, client, self.scratch, story))
    C.rp_buf_init(out, 1048576)
    C.rp_route_story_json(story, out)
    local text = c.lua(C.rp_buf_str(out))
    C.rp_buf_fini(out)
    return text
end

--- Route one request: { host, method, path, query, headers = { { name, value } }, client = "ip" }.
function Site:find(req)
    local keep = { arena = ffi.gc(ffi.new("struct rp_arena"), C.rp_arena_reset) }
    C.rp_arena_init(keep.arena, nil, 0, 1048576)
    C.rp_arena_init(self.scratch, nil, 0, req.scratch or 1048576)
    local head, client = ffi.new("struct rp_msg"), ffi.new("struct rp_addr")
    fill_head(head, keep, req)
    if req.client then check(C.rp_addr_parse_ip(c.str(req.client), client)) end
    local out = ffi.new("struct rp_route_match")
    C.rp_route_find(self.conf, head, client, self.scratch, out)
    local route = out.route
    local found = { route = route, id = c.lua(route.id), miss = c.err_name(out.miss), params = {},
        trouble = c.err_name(out.trouble), visited = out.visited_n, allowed = {} }
    for i = 0, tonumber(out.params_n) - 1 do
        found.params[c.lua(route.param_names[i])] = c.lua(out.params[i]) or false
    end
    for id = 1, tonumber(C.RP_M_COUNT) - 1 do
        local bit = ffi.cast("uint64_t", 1)
        for _ = 1, id do bit = bit * 2 end
        if out.allowed % (bit * 2) >= bit then
            found.allowed[#found.allowed + 1] = c.lua(C.rp_token_method_name(id))
        end
    end
    C.rp_arena_reset(self.scratch)
    return found
end

M.C, M.NONE = C, NONE

return M
