-- SPDX-License-Identifier: MIT
--
-- rproxy: what sites and plugins get from require "rproxy". Fields that are not built yet raise
-- with the nearest name, like every unknown name in rproxy.

local abi = require("rproxy.abi")
local crypto = require("rproxy.crypto")
local date = require("rproxy.date")
local guest = require("rproxy.guest")
local exec = require("rproxy.exec")
local fs = require("rproxy.fs")
local gzip = require("rproxy.gzip")
local header = require("rproxy.header")
local ip = require("rproxy.ip")
local http = require("rproxy.http")
local json = require("rproxy.json")
local jit_report = require("rproxy.jit_report")
local jwe = require("rproxy.jwe")
local jwt = require("rproxy.jwt")
local lock = require("rproxy.lock")
local log = require("rproxy.log")
local lru = require("rproxy.lru")
local metric = require("rproxy.metric")
local nearest = require("rproxy.config.nearest")
local object = require("rproxy.object")
local plugin = require("rproxy.plugin")
local queue = require("rproxy.queue")
local redis = require("rproxy.redis")
local regex = require("rproxy.regex")
local schedule = require("rproxy.schedule")
local ring = require("rproxy.ring")
local shared = require("rproxy.shared")
local site = require("rproxy.config.site")
local socket = require("rproxy.socket")
local task = require("rproxy.task")
local text = require("rproxy.text")
local time = require("rproxy.time")
local tls = require("rproxy.tls")
local up = require("rproxy.up")
local uuid = require("rproxy.uuid")

require("rproxy.shared_kinds")
require("rproxy.shared_set")

local C = abi.C

-- rp.tls { .. } makes settings of a client.
local tls_of = setmetatable({ certificate = guest.certificate },
    { __call = function(_, opts) return tls.settings(opts) end })

local rp = {
    -- configuration
    site = site.site, listen = site.listen, upstream = site.upstream, host = site.host,
    route = site.route, split = site.split, stream = site.stream, plugin = plugin.define,
    untrusted = plugin.untrusted,
    upstreams = up.upstreams,
    shm = site.shm, shared = shared.zones,
    -- waiting
    sleep = task.sleep, spawn = task.spawn, all = task.all, any = task.any, detach = task.detach,
    every = schedule.every, after = task.after, deadline = task.deadline, once = task.once,
    -- library
    crypto = crypto, header = header.handle, json = json, jwe = jwe, jwt = jwt,
    log = log, lru = lru.new,
    null = json.null, array = json.array, regex = regex.callable,
    metric = { counter = metric.counter, gauge = metric.gauge, histogram = metric.histogram,
        text = metric.text },
    redis = redis.new, queue = queue.new, lock = lock.lock, semaphore = lock.semaphore,
    fs = fs, exec = exec.exec,
    tcp = { connect = socket.connect },
    unix = { connect = socket.connect_unix }, udp = { connect = socket.connect_udp },
    dns = { resolve = socket.resolve }, tls = tls_of, http = http,
    b64 = text.b64, unb64 = text.unb64, b64url = text.b64url, unb64url = text.unb64url,
    ring = ring.new, jump_hash = ring.jump,
    ip = ip.new, cidr = ip.cidr, gzip = gzip.gzip, gunzip = gzip.gunzip,
    gzip_stream = gzip.gzip_stream, gunzip_stream = gzip.gunzip_stream,
    hex = text.hex, unhex = text.unhex, uri = text.uri, html_escape = text.html_escape,
    now = time.now, time = time.time, clock = time.clock,
    date = date, form = text.form, uuid = uuid, jit = { report = jit_report.report },
}

--- A number below 2^52 from strings, the same in every process and release.
function rp.hash(...)
    local s = ...
    if select("#", ...) > 1 then s = table.concat({ ... }, "\0") end
    if type(s) ~= "string" then object.raise("rp.hash takes strings") end
    return C.rp_abi_hash(s, #s)
end

--- The text of a file, read while the site is loaded.
--- @param path string  relative ones start at the folder of site.lua
--- @return string|nil text, string|nil err
function rp.file(path)
    return require("rproxy.loader").read_file(path)
end

--- Is value one of the list's items (or the value itself, when it is no list)?
function rp.contains(list, value)
    if type(list) ~= "table" then return list == value end
    for _, item in ipairs(list) do
        if item == value then return true end
    end
    return false
end

--- "2xx" for 200 to 299, and so on.
function rp.status_class(status)
    return ("%dxx"):format(math.floor(status / 100))
end

return setmetatable(rp, {
    __index = function(_, name)
        object.raise("rproxy has no %q%s", tostring(name),
            nearest.hint(tostring(name), nearest.names(rp)))
    end,
    __newindex = function(_, name)
        object.raise("rp.%s cannot be changed", tostring(name))
    end,
})
