-- SPDX-License-Identifier: MIT
--
-- options_split: the rows of rp.split; options.lua says what a row is.

local checks = require("rproxy.config.option_checks")
local cookie = require("rproxy.config.options_cookie")

local M = {}

local function is_name(value)
    if value ~= "" and #value < 192 and not value:find("%c") then return true end
    return nil, "a text of 1 to 191 bytes without control bytes"
end

local function are_steps(list)
    local last = 0
    for _, step in ipairs(list) do
        local cents = type(step) == "number" and math.floor(step * 100 + 0.5) or 0
        if not (cents > last and cents <= 10000) then -- NaN neither
            return nil, "percentages from 0.01 to 100, each 0.01 larger than the one before or more"
        end
        last = cents
    end
    if #list == 0 or #list > 16 then return nil, "1 to 16 steps" end
    return true
end

M.split = {
    { name = "name", type = "string", check = is_name, shown = "id of its first route",
        doc = "What `rproxy split` and metrics call it." },
    { name = "base", type = "string", shown = "see above",
        doc = "The side that gives to the others when they grow, and takes back." },
    { name = "by", type = "any", takes = "string or list", shown = "by chance",
        doc = 'What a client is known by: "ip", "host", "path", "query", "consumer", "arg:NAME", '
            .. '"header:NAME", "cookie:NAME" or a list of these. The same key is on the same side '
            .. "in all workers and instances. Who has none of it is divided by cookie or chance." },
    { name = "sticky.cookie", type = "string", check = checks.is_token,
        doc = "Clients that are divided by chance keep their place by a cookie of this name. Its "
            .. "value cannot be made up." },
    { name = "when", type = "any", takes = "list of rules",
        doc = "Rules that go before the shares, the first that holds: "
            .. '`{ header = { ["x-canary"] = "1" }, upstream = "canary" }`; header, cookie, query '
            .. "and source as in `when` of a route. Such requests get no cookie and count for no "
            .. "rollout." },
    { name = "rollout", type = "object", optional = true,
        doc = "Let the share of one side grow by steps, as long as it does as well as the base." },
    { name = "rollout.canary", type = "string", shown = "the side that is not the base",
        doc = "The side that grows." },
    { name = "rollout.steps", type = "list", of = { "any" }, check = are_steps,
        default = { 1, 5, 25, 100 }, doc = "Its share in percent, step by step. It begins with "
            .. "the first one, whatever the shares of the split say." },
    { name = "rollout.every", type = "duration", default = "5m", min = 0.1, max = 7 * 86400,
        doc = "A step lasts at least this long." },
    { name = "rollout.min_requests", type = "integer", default = 100, min = 20, max = 1e9,
        doc = "... and until each side had so many requests in it." },
    { name = "rollout.max_error_ratio", type = "number", default = 1.5, min = 1, max = 1000,
        doc = "A canary whose share of failed requests (5xx, no answer) is more than this many "
            .. "times the base's is rolled back." },
    { name = "rollout.error_floor", type = "number", default = 0.01, min = 0, max = 1,
        doc = "... but not while it is below this." },
    { name = "rollout.max_latency_ratio", type = "number", default = 1.5, min = 0, max = 1000,
        doc = "As much slower than the base it may be; 0: time does not matter." },
    { name = "rollout.latency_quantile", type = "number", default = 0.95, min = 0.5, max = 0.999,
        doc = "... in this quantile of the time to a response head." },
    { name = "rollout.latency_floor", type = "duration", default = "10ms", min = 0,
        doc = "... but not while that is less than this." },
    { name = "rollout.confidence", type = "number", default = 0.999, min = 0.8, max = 0.999999,
        doc = "How sure both judgements are to be: what may be by chance is no reason." },
}

cookie.place(M.split, "sticky.cookie")

return M
