-- SPDX-License-Identifier: MIT
--
-- site: what the proxy of a world serves: a route for each kind of thing that can go wrong, with
-- options that the dice choose.

local M = {}

-- ${name}: a port of the origin, or a choice of the dice.
local TEXT = [=[
local rp = require "rproxy"

local function id_of(req) return req.path:match("[^/]+$") end
local function pass(name, fn) return { [name] = fn } end

-- Ask the line server; any failure is fine, and said.
local function ask(req, text)
    local sock, err = rp.tcp.connect { host = "${line_host}", port = ${line}, timeout = 2 }
    if not sock then return nil, err end
    local sent, why = sock:write(text .. "\n")
    if not sent then return nil, why end
    local line, broken = sock:read("line")
    if not line then return nil, broken end
    if line ~= text then req:abort(599, "cosocket: " .. line) end
    sock:close()
    return line
end

local kinds = {
    sleep = pass("access", function() rp.sleep(0.005) end),
    sock = pass("access", function(req) ask(req, id_of(req)) end),
    spawn = pass("access", function(req)
        local tasks = {}
        for i = 1, 3 do tasks[i] = function() return ask(req, id_of(req) .. i) end end
        rp.all(tasks)
        rp.any { function() rp.sleep(1) end, function() rp.sleep(0.002) end }
    end),
    read = pass("access", function(req)
        local body, err = req:body { max = 100000 }
        if not body and err ~= "too large" then return req:exit(503, err) end
    end),
    set = pass("rewrite", function(req) req:set_body("set " .. id_of(req)) end),
    upper = { body_filter = function(req, res, chunk, last)
        if #chunk > 3000 then rp.sleep(0.001) end
        return chunk:upper()
    end, header_filter = function(req, res) rp.sleep(0.001) res:set("x-filtered", "1") end },
    replace = pass("header_filter", function(req, res)
        return res:replace(200, "replaced " .. id_of(req), { ["x-id"] = id_of(req) })
    end),
    whole = pass("header_filter", function(req, res)
        local body = res:body { max = 100000 }
        if body then res:set_body(body) end
    end),
    once = { header_filter = function(req, res) res:buffer { max = 100000 } end,
        body_filter = function(req, res, chunk)
            rp.sleep(0.001)
            return chunk:upper()
        end },
    detach = pass("log", function(req)
        local id = id_of(req)
        rp.detach(function() rp.sleep(0.01) ask(req, id) end)
        rp.sleep(0.002)
    end),
}

local routes = {
    rp.route { "/local/*", content = function(req)
        return req:exit(200, "local " .. id_of(req), { ["x-id"] = id_of(req) })
    end },
    rp.route { "/echo/*", limits = { body = "1m" }, content = function(req)
        local body, err = req:body { max = 2 ^ 20 }
        if not body then return req:exit(503, err) end
        return req:exit(200, body, { ["x-id"] = id_of(req) })
    end },
    rp.route { "/write/*", content = function(req)
        local id, n = id_of(req), tonumber(req:arg("n"))
        req:early_hints { link = "</" .. id .. ">" }
        local out = req:respond(200, { ["x-id"] = id }, n % 2 == 0 and { length = n } or nil)
        local text, at = ("w" .. id .. ";"):rep(n / (#id + 2) + 1):sub(1, n), 1
        while at <= n do
            if n % 3 == 0 then rp.sleep(0.001) end
            if n % 5 == 0 then ask(req, id) end
            if not out:write(text:sub(at, at + 29999)) then return end
            at = at + 30000
        end
    end },
    rp.route { "/turn/*", limits = { body = "1m" }, content = function(req)
        local reader = req:body_reader()
        local out = req:respond(200, { ["x-id"] = id_of(req) })
        for piece in reader:chunks() do
            if not out:write(piece:upper()) then return end
        end
    end },
    rp.route { "/two/*", upstream = "two" },
    rp.route { "/half/*", upstream = "half" },
    rp.route { "/hedged/*", upstream = "hedged", buffer = { request = ${hedge_buffer} } },
    rp.route { "/shared/*", upstream = "hedged", coalesce = { max_body = ${share_most} } },
    rp.route { "/name/*", upstream = "name" },
    rp.route { "/pp/*", upstream = "pp" },
    rp.route { "/tls/*", upstream = "tls" },
    rp.route { "/small/*", upstream = "one", limits = { body = 1000 } },
    rp.route { "/*", upstream = "one" },
}
for name, hooks in pairs(kinds) do
    routes[#routes + 1] = rp.route { "/" .. name .. "/*", upstream = "one", use = { hooks } }
end

return rp.site {
    trust = { "127.0.0.0/8" },
    tls = { certs = { "/srv/site/a.pem" }, early_data = true, ktls = "${ktls}", watch = false },
    listeners = { rp.listen { "127.0.0.1:80" }, rp.listen { "127.0.0.1:81", proxy_protocol = true },
        rp.listen { "127.0.0.1:85", tls = true } },
    streams = {
        rp.stream { "127.0.0.1:82", upstream = "echo", timeouts = { idle = ${idle} } },
        rp.stream { "127.0.0.1:83", upstream = "far", timeouts = { idle = ${idle} }, use = { {
            connect = function(conn) rp.sleep(0.002) conn.upstream = "echo" end,
            log = function(conn) rp.sleep(0.002) end } } },
        rp.stream { "udp:127.0.0.1:84", upstream = "udp" },
        rp.stream { "127.0.0.1:86", upstream = "echo", tls = true, timeouts = { idle = ${idle} } },
    },
    log = { access = { to = "${log}", format = "json", buffer = ${log_buffer} } },
    limits = { connections = ${connections} },
    timeouts = { hook_wait = ${hook_wait} },
    upstreams = {
        one = rp.upstream { peers = { "127.0.0.1:${http}" }, tries = ${tries}, max_fails = ${max_fails},
            keepalive = { max = ${pool}, requests = ${pool_requests} } },
        two = rp.upstream { peers = { "127.0.0.1:${http}", "127.0.0.1:${second}" }, tries = ${tries},
            max_fails = ${max_fails} },
        half = rp.upstream { peers = { "127.0.0.1:${dead}", "127.0.0.1:${http}" }, tries = 3 },
        hedged = rp.upstream { peers = { "127.0.0.1:${http}", "127.0.0.1:${second}" },
            tries = ${tries}, max_fails = ${max_fails}, hedge = { after = "${hedge}", max = 2,
                budget = 100 } },
        name = rp.upstream { peers = { "localhost:${http}" }, tries = ${tries}, max_fails = 0 },
        tls = rp.upstream { peers = { "127.0.0.1:${tls}" }, host = "inner.test", tries = ${tries},
            tls = { name = "site.test", ca = "/srv/site/a.pem" }, max_fails = ${max_fails},
            keepalive = { max = ${pool} } },
        pp = rp.upstream { peers = { "127.0.0.1:${http}" }, proxy_protocol = "v1" },
        echo = rp.upstream { peers = { "127.0.0.1:${echo}" }, max_fails = ${max_fails} },
        udp = rp.upstream { peers = { "127.0.0.1:${udp}" }, max_fails = ${max_fails} },
        far = rp.upstream { peers = { "127.0.0.1:${dead}" } },
    },
    hosts = { rp.host { "inner.test", routes = { rp.route { "/*", upstream = "one" } } },
        rp.host { default = true, routes = routes } },
}
]=]

M.KINDS = { "plain", "sleep", "sock", "spawn", "read", "set", "upper", "replace", "detach", "local",
    "echo", "two", "half", "name", "pp", "small", "tls", "write", "whole", "once",
    "turn", "hedged", "shared" }
M.LISTENERS = { "127.0.0.1:80", "127.0.0.1:81", "127.0.0.1:82", "127.0.0.1:83",
    "udp:127.0.0.1:84", "127.0.0.1:85", "127.0.0.1:86" }

--- The site's text. vars: ports and the log's path.
function M.text(dice, vars)
    local all = {
        line_host = dice:pick { "127.0.0.1", "127.0.0.1", "localhost" },
        idle = dice:pick { 1, 60, 3600 },
        log_buffer = dice:pick { 0, 1000, 65536 },
        connections = dice:pick { 0, 0, 0, 2 },
        hook_wait = dice:pick { 0.003, 1, 60 },
        tries = dice:pick { 1, 2, 3 },
        max_fails = dice:pick { 0, 0, 1 },
        pool = dice:pick { 0, 1, 256, 256 },
        ktls = dice:pick { "off", "auto" },
        pool_requests = dice:pick { 0, 0, 2 },
        hedge = dice:pick { "1ms", "5ms", "1s" },
        hedge_buffer = dice:pick { "true", "false" },
        share_most = dice:pick { 1000, 2 ^ 20 },
    }
    for name, value in pairs(vars) do all[name] = value end
    return (TEXT:gsub("%${([%l_]+)}", function(name)
        return tostring(assert(all[name], name))
    end)), all
end

return M
