-- SPDX-License-Identifier: MIT
--
-- policy: what spec/bench/sites/lua.lua does, for nginx's Lua module: an API key is looked up, a counter
-- that all workers share goes up, a regular expression looks at the path, two headers go upstream and
-- two to the client, and a shared counter per status counts what became of it.

local ngx = require("ngx")

local M = {}

local KEYS = { ["k-0123456789"] = "ann" }
local BAD = [[\.\./|<script|/\.git|union\s+select]]
local ANSWERS = {}
for status = 100, 599 do ANSWERS[status] = "answers_" .. status end

local counts = ngx.shared.counts
local find = ngx.re.find
local set_header = ngx.req.set_header

function M.access()
    -- The load generator sends no key: its requests are the guest's.
    local who = KEYS[ngx.var.http_x_api_key or "k-0123456789"]
    if not who then return ngx.exit(401) end
    counts:incr("requests", 1, 0)
    if find(ngx.var.uri, BAD, "ijo") then return ngx.exit(403) end
    set_header("x-consumer", who)
    set_header("x-trace", "1")
end

function M.header_filter()
    local header = ngx.header
    header["x-policy"] = "ok"
    header["x-served-by"] = "nginx"
end

function M.log()
    counts:incr(ANSWERS[ngx.status], 1, 0)
end

-- Five plugins of three hooks each that do nothing.
local function nothing() end
local CHAIN = { nothing, nothing, nothing, nothing, nothing }

function M.five()
    for i = 1, 5 do CHAIN[i]() end
end

return M
