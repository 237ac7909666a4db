-- SPDX-License-Identifier: MIT
--
-- grant: the one place that every way out of the process asks: may the code that runs now connect
-- there, use that file, run that program, read that variable?
--
-- Code of the site itself may do everything. Code of a plugin (what rp.plugin defines) may do what
-- its instance was granted: by `grant` of the instance, by `grants` of the site, and by settings
-- whose schema type names a place (config/grants.lua puts these together). Whose code runs is C's
-- knowledge (rp_abi_running) and passes on to what it spawns. Whatever is kept and used later by
-- others, a client, is its maker's (M.own): it may what the maker may.
--
-- While a module is loaded nobody knows yet what it will be granted: what it uses there is noted
-- (M.enter_module), and counts as a need of the plugin that the module defines.

local abi = require("rproxy.abi")
local log = require("rproxy.log")
local object = require("rproxy.object")
local rules = require("rproxy.grant_rules")

local C, H = abi.C, abi.H
local raise = object.raise

local M = {}

local SITE = {} -- the policy of whoever may do everything
local NOTED_MOST = 100 -- refusals of one instance that get a log line

local policies = {} -- index of an instance -> its policy; none: the site's
local modules = {} -- modules that are being loaded, the innermost last: sets of rules

--- How a path of the site becomes that of a file; the loader sets it.
M.path_of = function(path) return path end

-- Paths as they are compared when files are used.
local function resolve(set)
    local out = rules.new()
    rules.join(out, set)
    for _, list in ipairs { "read", "write" } do
        local resolved = {}
        for i, rule in ipairs(set[list]) do
            resolved[i] = { text = rule.text, path = rules.normal(M.path_of(rule.path)) }
        end
        out[list] = resolved
    end
    return out
end

--- From now on the instance of that index may do what its policy says, and nothing else.
--- @param index number  in conf->plugins
--- @param policy table|nil  { name, at, set, ffi_allowed }; nil: everything
function M.install(index, policy)
    policies[index] = nil -- of a site before, in a lab
    if not policy then return end
    policies[index] = { name = policy.name, at = policy.at, set = resolve(policy.set),
        ffi_allowed = policy.ffi_allowed, upstreams = policy.upstreams or {}, noted = {},
        noted_n = 0 }
end

--- The site is gone (rproxy.lab): indexes are another one's.
function M.forget_site()
    policies = {}
end

-- ---------------------------------------------------------------- modules

--- A module's chunk begins: what it uses is noted.
--- @param untrusted boolean|nil  it may not use anything
function M.enter_module(untrusted)
    modules[#modules + 1] = rules.new()
    modules[#modules].untrusted = untrusted
end

--- ... and has ended.
function M.leave_module()
    modules[#modules] = nil
end

--- What the module that is being loaded has used, and will; nil: none is.
function M.module_uses()
    return modules[#modules]
end

local function note(list, rule)
    for _, set in ipairs(modules) do
        if set.untrusted then
            raise("%s %s: not while an untrusted module is loaded; in setup it may what it is "
                .. "granted", list, rule.text)
        end
        set[list][#set[list] + 1] = rule
    end
end

-- ---------------------------------------------------------------- who

local function running()
    local at = C.rp_abi_running(H)
    if at >= 0 then return policies[at] or SITE end
    return nil
end

local owners = setmetatable({}, { __mode = "k" }) -- a thing that is kept -> its maker's policy

--- A thing that is made now and used later has its maker's rights; one that is made while a module
--- is loaded, those of whoever uses it.
--- @param thing table
function M.own(thing)
    owners[thing] = running() or (#modules == 0 and SITE or nil)
end

-- ---------------------------------------------------------------- refusals

local WORDS = { net = "connect to", read = "read", write = "write", exec = "run",
    env = "read the variable", ffi = "use" }

local function refuse(policy, list, target, rule)
    C.rp_abi_denied(H)
    local key = list .. " " .. target
    local how = ("grant = { %s } of the instance (%s), or grants = { [%q] = { %s } } of the site")
        :format(rules.spelling(list, rule), policy.at, policy.name, rules.spelling(list, rule))
    if not policy.noted[key] and policy.noted_n < NOTED_MOST then
        policy.noted[key], policy.noted_n = true, policy.noted_n + 1
        log.warn("a plugin was refused what it is not granted", { plugin = policy.name,
            kind = list, target = target })
    end
    raise("plugin %q may not %s %s: it is not granted; %s", policy.name, WORDS[list], target, how)
end

local function covered(list, covers, ...)
    for _, rule in ipairs(list) do
        if covers(rule, ...) then return true end
    end
    return false
end

-- ---------------------------------------------------------------- questions

local function spell_place(host, port)
    if port == 0 then return "unix:" .. host end
    if host:find(":", 1, true) and host:sub(1, 1) ~= "[" then host = "[" .. host .. "]" end
    return host .. ":" .. (port or "*")
end

--- May it connect there? Raises when not.
--- @param host string  a name, an address, or with port 0 the path of a unix socket
--- @param port number|nil  nil: only the name is asked for
--- @param thing table|nil  of M.own, that does it
function M.net(host, port, thing)
    local policy = thing and owners[thing] or running()
    if not policy or policy == SITE then return end
    if covered(policy.set.net, rules.net_covers, host, port) then return end
    local place = spell_place(host, port)
    refuse(policy, "net", place, { text = place })
end

--- May it send requests to that upstream of the site? Only where a setting of it names it.
--- @param name string
--- @param thing table|nil  of M.own, that does it
function M.upstream(name, thing)
    local policy = thing and owners[thing] or running()
    if not policy or policy == SITE or policy.upstreams[name] then return end
    C.rp_abi_denied(H)
    raise("plugin %q may not send requests to upstream %q: no setting of it names that one "
        .. "(schema type \"upstream\")", policy.name, name)
end

-- A path that the layer itself uses, for what was granted before.
local Inner = {}

--- @param path string
function M.inner(path)
    return setmetatable({ path }, Inner)
end

--- May it read or write that file?
--- @param access string  "read", "write"
--- @param path string|table  as the site says it; of M.inner: it may
--- @return string path  to be used
--- @return number root_n  bytes of the folder that links must not lead out of; -1: any link may
---   be followed
function M.fs(access, path)
    if getmetatable(path) == Inner then return path[1], -1 end
    local policy = running()
    local whole = M.path_of(path)
    if not policy then
        if #modules > 0 then note(access, assert(rules.path(path))) end
        return whole, -1
    end
    if policy == SITE then return whole, -1 end
    whole = rules.normal(whole)
    local best
    for _, rule in ipairs(policy.set[access]) do
        local n = rules.path_covers(rule, whole)
        if n and (not best or n > best) then best = n end
    end
    if not best then refuse(policy, access, path, { text = path }) end
    -- What is granted by its own name is what the site says it is, link or not.
    return whole, best == #whole and -1 or best
end

--- May it run that program?
--- @param words string[]  argv
--- @param env table|nil  variables that it is to be given
--- @param cwd string|nil
function M.exec(words, env, cwd)
    local policy = running()
    if not policy or policy == SITE then return end
    if not covered(policy.set.exec, rules.exec_covers, words, env) then
        local shape, names = {}, {}
        for i = 2, #words do shape[i - 1] = tostring(words[i]) end
        for name in pairs(env or {}) do names[#names + 1] = name end
        refuse(policy, "exec", table.concat(words, " ") .. (#names > 0 and " with variables "
            .. table.concat(names, ", ") or ""), { program = words[1], words = shape,
            text = words[1] })
    end
    if cwd then M.fs("read", cwd) end
end

--- May it read that variable of the environment?
function M.env(name)
    local policy = running()
    if policy == SITE then return end
    if not policy then
        local rule = #modules > 0 and rules.env(name)
        if rule then note("env", rule) end
        return
    end
    if covered(policy.set.env, rules.env_covers, name) then return end
    refuse(policy, "env", name, { text = name })
end

--- May it use the FFI? Only in setup and later, when its grants are known.
function M.ffi()
    local policy = running()
    if not policy or policy == SITE then
        raise('module "ffi" is not for sites: a plugin that is granted it has it in setup and '
            .. 'later; grant = { ffi = true } of the instance, and lua.ffi = true of the site')
    end
    if policy.set.ffi and policy.ffi_allowed then return end
    if policy.set.ffi then
        raise('plugin %q may not use the FFI: the site does not allow it; lua = { ffi = true }',
            policy.name)
    end
    refuse(policy, "ffi", "the FFI", {})
end

return M
