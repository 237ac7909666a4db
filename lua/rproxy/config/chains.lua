-- SPDX-License-Identifier: MIT
--
-- chains: which hooks run for a request, in which order.
--
-- Request phases run in the order site, host, route; response phases the other way round, so that
-- what sees a request first sees its response last.

local M = {}

--- Phases of a route's own chains, and whether they run in reverse.
M.PHASES = {
    { name = "access" }, { name = "rewrite" }, { name = "request_body" },
    { name = "header_filter", reverse = true }, { name = "body_filter", reverse = true },
    { name = "log", reverse = true },
}

-- What a plugin of a stream may have: no request, no phases.
local NOT_OF_STREAMS = { "early", "access", "rewrite", "content", "balance",
    "request_body", "header_filter", "body_filter" }

local REQUEST_HOOKS = { "early", "access", "rewrite", "content", "request_body", "header_filter",
    "body_filter", "log" }

-- Hooks of a TLS handshake: there is no request yet, and no host.
local TLS_HOOKS = { "tls_hello", "certificate" }

local NOT_OF_LISTENERS = { "connect", "early", "access", "rewrite", "content", "balance",
    "request_body", "header_filter", "body_filter", "log" }

local function refuse(instance, report, text, ...)
    report:add(instance.at, "plugin %s: " .. text, instance.name, ...)
end

local function check_balance(instance, report)
    if not instance.hooks.balance then
        refuse(instance, report, "it has no balance hook; balance = takes a plugin that has one")
    end
    for _, name in ipairs(REQUEST_HOOKS) do
        if instance.hooks[name] then
            refuse(instance, report, "its %s hook does not run under balance =; list the plugin "
                .. "in use", name)
        end
    end
end

local function check_stream(instance, report)
    for _, name in ipairs(NOT_OF_STREAMS) do
        if instance.hooks[name] then
            refuse(instance, report, "its %s hook takes a request, and a stream has none; connect "
                .. "and log run there", name)
        end
    end
end

local function check_listener(instance, report)
    for _, name in ipairs(NOT_OF_LISTENERS) do
        if instance.hooks[name] then
            refuse(instance, report, "its %s hook does not run for a listener's handshakes; list "
                .. "it in the use of the site, a host or a route", name)
        end
    end
end

local function check_tls_hooks(instance, level, report)
    if level == "site" or level == "listen" or level == "stream" then return end
    for _, name in ipairs(TLS_HOOKS) do
        if instance.hooks[name] then
            refuse(instance, report, "its %s hook runs before a host is known; list it in the "
                .. "use of the site or of an rp.listen", name)
        end
    end
end

--- Whose TLS hooks run for a listener or stream that ends TLS, in order.
--- @param model table
--- @param node table  a listener or stream of the model
--- @param is_stream boolean|nil
function M.tls_instances(model, node, is_stream)
    local out = {}
    if not is_stream then
        for _, instance in ipairs(model.use) do out[#out + 1] = instance end
    end
    for _, instance in ipairs(node.use) do out[#out + 1] = instance end
    return out
end

--- A listener or stream without TLS has no handshakes: hooks that were listed for them alone would
--- never run. (After setup.)
local function check_plain(node, what, report)
    if node.tls then return end
    for _, instance in ipairs(node.use) do
        for _, name in ipairs(TLS_HOOKS) do
            if instance.hooks[name] then
                refuse(instance, report, "its %s hook would never run: this %s has no tls", name,
                    what)
            end
        end
    end
end

--- @param model table
--- @param report table
function M.check_tls(model, report)
    for _, listener in ipairs(model.listeners) do check_plain(listener, "rp.listen", report) end
    for _, stream in ipairs(model.streams) do check_plain(stream, "rp.stream", report) end
end

--- Does each instance stand where its hooks can run? (After setup.)
--- @param levels table  validate.instances()
function M.check(levels, order, report)
    for _, instance in ipairs(order) do
        local level, hooks = levels[instance], instance.hooks
        check_tls_hooks(instance, level, report)
        if level == "balance" then
            check_balance(instance, report)
        elseif level == "stream" then
            check_stream(instance, report)
        elseif level == "listen" then
            check_listener(instance, report)
        else
            if hooks.connect then
                refuse(instance, report, "its connect hook runs for streams; list it in the use "
                    .. "of an rp.stream")
            end
            if level == "content" and not hooks.content then
                refuse(instance, report, "it has no content hook; content = takes a plugin that "
                    .. "has one")
            elseif level ~= "content" and hooks.content then
                refuse(instance, report, "it has a content hook, which answers instead of an "
                    .. "upstream; write content = on a route")
            end
            if hooks.balance then
                refuse(instance, report, "it has a balance hook; write balance = on an upstream")
            end
            if hooks.early and level ~= "site" then
                refuse(instance, report, "its early hook runs before a route is chosen; list it "
                    .. "in the site's use")
            end
        end
    end
end

local function append(out, list, skipped)
    for _, instance in ipairs(list) do
        if not skipped[instance.name] then out[#out + 1] = instance end
    end
end

--- Instances of a route (or of a host's or the site's fallback), in list order.
--- @param model table
--- @param host table|nil  nil: of no host
--- @param route table|nil  nil: where no route matches
function M.instances_of(model, host, route)
    local out, skipped = {}, {}
    for _, name in ipairs(route and route.skip or {}) do skipped[name] = true end
    if model.record then out[1] = model.record.outer end
    append(out, model.use, skipped)
    if host then append(out, host.use, skipped) end
    if route then append(out, route.use, {}) end
    if route and route.content then out[#out + 1] = route.content end
    if model.record then out[#out + 1] = model.record.inner end
    return out
end

--- Entries { instance, fn } of one phase in the order in which they run.
--- @param instances table[]
--- @param hook string
--- @param reverse boolean|nil
function M.entries(instances, hook, reverse)
    local out = {}
    local first, last, step = 1, #instances, 1
    if reverse then first, last, step = #instances, 1, -1 end
    for i = first, last, step do
        local fn = instances[i].hooks[hook]
        if fn then out[#out + 1] = { instance = instances[i], fn = fn } end
    end
    return out
end

return M
