-- SPDX-License-Identifier: MIT
--
-- kubernetes: members of a Service from its EndpointSlices: a list at one version, then a watch
-- from that version on; when the server has forgotten it (410 Gone), the list again.
--
-- src  kubernetes.io/docs/reference/using-api/api-concepts, .../kubernetes-api/service-resources

local client = require("rproxy.discover.client")
local fs = require("rproxy.fs")
local service = require("rproxy.service")
local shape = require("rproxy.discover.shape")
local text = require("rproxy.text")

local M = {}

local str, num, tab = shape.str, shape.num, shape.tab

local PAGE = 250          -- slices of one answer
local SLICES_MOST = 5000
local ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/"

-- ---------------------------------------------------------------- slices as members

-- The slice's port by name or number; its only one when nothing is said. nil: none.
local function port_of(slice, wanted)
    local ports, found = tab(slice.ports), nil
    for _, port in ipairs(ports) do
        port = tab(port)
        local number, name = num(port.port), str(port.name) or ""
        local is_tcp = port.protocol == nil or port.protocol == "TCP"
        if number and is_tcp then
            if wanted == nil then
                if found and found ~= number then return nil, "several" end
                found = number
            elseif wanted == name or wanted == number then return number end
        end
    end
    return found
end

local function hints_of(endpoint)
    local names = {}
    for _, zone in ipairs(tab(tab(endpoint.hints).forZones)) do
        names[#names + 1] = str(tab(zone).name)
    end
    return names[1] and table.concat(names, ",") or nil
end

local function add(list, slice, endpoint, port)
    local target = tab(endpoint.targetRef)
    for _, address in ipairs(tab(endpoint.addresses)) do
        list[#list + 1] = { host = str(address), port = port, zone = str(endpoint.zone),
            meta = { node = str(endpoint.nodeName), hints = hints_of(endpoint),
                pod = target.kind == "Pod" and str(target.name) or nil,
                slice = str(tab(slice.metadata).name) } }
    end
end

-- Those of one family: ready ones, and those that serve while they end.
local function members_of(slices, family, s, say)
    local ready, ending = {}, {}
    for _, slice in pairs(slices) do
        local port, why = port_of(slice, s.port)
        if slice.addressType == family and not port and next(tab(slice.endpoints)) ~= nil then
            say(why and "a slice has several ports; say which: port"
                or ("a slice has no TCP port %s"):format(tostring(s.port or "")))
        elseif slice.addressType == family and port then
            for _, endpoint in ipairs(tab(slice.endpoints)) do
                endpoint = tab(endpoint)
                local is = tab(endpoint.conditions)
                -- Absent conditions are to be read as ready (API reference, EndpointConditions).
                if is.ready == true or is.ready ~= false and is.terminating ~= true then
                    add(ready, slice, endpoint, port)
                elseif is.terminating == true and is.serving == true then
                    add(ending, slice, endpoint, port)
                end
            end
        end
    end
    return ready, ending
end

local FAMILIES = { ipv4 = { "IPv4" }, ipv6 = { "IPv6" }, auto = { "IPv4", "IPv6" } }

--- Slices as members: of a Service with two families every pod is in both, and taken once. Where
--- none is ready, those that end but still serve are better than nobody (as kube-proxy has it).
--- @param slices table  by name
--- @param s table  settings: port, family
function M.members(slices, s, say)
    local fallback
    for _, family in ipairs(FAMILIES[s.family]) do
        local ready, ending = members_of(slices, family, s, say)
        if ready[1] then return ready end
        if ending[1] then fallback = fallback or ending end
    end
    return fallback or {}
end

-- ---------------------------------------------------------------- requests

local Link = {}
Link.__index = Link

-- Tokens are replaced on the disk long before they are over: each request takes what is there.
function Link:dress()
    local s = self.settings
    local given = s.token and { token = s.token } or { token_file = s.token_file
        or s.in_cluster and ACCOUNT .. "token" or nil }
    local token, why = client.secret(given)
    if why then return nil, why end
    if token then self.asks:set_header("authorization", "Bearer " .. token, token) end
    return true
end

function Link:query(more)
    more.labelSelector = "kubernetes.io/service-name=" .. self.settings.service
    return more
end

--- All slices, by name, and the version of that list.
function Link:list()
    local slices, n = {}, 0
    local go_on, version
    repeat
        local ok, why = self:dress()
        if not ok then return nil, why end
        local answer, status
        answer, why, status = self.asks:json(self.path, {
            query = self:query { limit = PAGE, continue = go_on } })
        if not answer and status == 410 and go_on then -- the pages are of too long ago
            return nil, "gone"
        elseif not answer then return nil, why end
        local meta = tab(answer.metadata)
        version, go_on, n = str(meta.resourceVersion), str(meta.continue), n + 1
        for _, slice in ipairs(tab(answer.items)) do
            local name = str(tab(tab(slice).metadata).name)
            if name then slices[name], n = slice, n + 1 end
        end
        if n > SLICES_MOST then return nil, ("more than %d slices"):format(SLICES_MOST) end
    until not go_on
    if not version then return nil, "a list without a version" end
    return slices, version
end

-- What one event does: "changed", "same" or "over"; and the version that it brings.
local function apply(event, slices)
    local object = tab(event.object)
    local meta = tab(object.metadata)
    local name, version = str(meta.name), str(meta.resourceVersion)
    if event.type == "ERROR" then
        if num(object.code) == 410 or object.reason == "Expired" then return "over" end
        return nil, str(object.message) or "an error without a message"
    elseif event.type == "BOOKMARK" then return "same", version
    elseif not name then return "same", version
    elseif event.type == "DELETED" then
        slices[name] = nil
        return "changed", version
    elseif event.type == "ADDED" or event.type == "MODIFIED" then
        slices[name] = object
        return "changed", version
    end
    return "same", version
end

-- One watch. true and the version to go on from; "over": begin anew; nil and why.
function Link:follow(slices, version, publish, seconds)
    local ok, why = self:dress()
    if not ok then return nil, why end
    local lines, status
    lines, why, status = self.asks:lines(self.path, { query = self:query { watch = "1",
        allowWatchBookmarks = "true", resourceVersion = version,
        timeoutSeconds = ("%d"):format(math.max(1, seconds)) } })
    if not lines then
        if status == 410 then return "over" end
        return nil, why
    end
    local ends = service.now() + seconds + self.settings.timeout
    while true do
        local event
        event, why = lines:read(math.max(ends - service.now(), 0))
        if not event and why == "closed" then return true, version end
        if not event then -- the server ends watches itself, when they have lasted long enough
            return nil, why == "timeout" and "the watch did not end when it should" or why
        end
        local what, got = apply(event, slices)
        if what == "changed" then publish(slices)
        elseif what == "same" then publish()
        else
            lines:close()
            return what, got and ("the watch: " .. self.asks:clean(got))
        end
        version = got or version
    end
end

-- ---------------------------------------------------------------- life

local function namespace_of(s)
    if s.namespace then return s.namespace end
    if not s.in_cluster then return "default" end
    local name, code, detail = fs.read(ACCOUNT .. "namespace", { max = 1024 })
    if not name then return nil, ("namespace: %s: %s"):format(code, detail) end
    return name:match("^%s*(.-)%s*$")
end

-- As long as lists are not asked for: the watch ends now and then, and goes on where it was.
local function watch_on(link, slices, version, publish, pace)
    local ends = service.now() + client.about(link.settings.resync)
    while service.now() < ends do
        pace(1)
        local ok, got = link:follow(slices, version, publish,
            math.min(ends - service.now(), link.settings.watch))
        if not ok then return nil, got end
        if ok == "over" then return true end
        version = got
    end
    return true
end

--- Runs for ever; nil and why when the API does not answer as it should.
function M.start(s, publish, say)
    local space, why = namespace_of(s)
    if not space then return nil, why end
    local link = setmetatable({ settings = s, asks = client.new(s, s.url),
        path = ("/apis/discovery.k8s.io/v1/namespaces/%s/endpointslices"):format(
            text.uri.escape(space)) }, Link)
    local pace, again = client.pace(), client.pace()
    local function tell(slices)
        if not slices then return publish() end
        publish(function() return M.members(slices, s, say) end)
    end
    while true do
        again(1)
        local slices, version = link:list()
        if slices then
            tell(slices)
            local ok
            ok, why = watch_on(link, slices, version, tell, pace)
            if not ok then return nil, why end
        elseif version ~= "gone" then return nil, version end
    end
end

return M
