-- SPDX-License-Identifier: MIT
--
-- metrics: what a running proxy counts, as `rproxy metrics` prints it.

local process = require("spec.support.process")

local M = {}

--- All samples: "name{labels}" -> value. Raises for a text that is not the format.
function M.parse(text)
    local out = {}
    for line in text:gmatch("([^\n]*)\n") do
        if line:sub(1, 1) ~= "#" then
            local name, value = line:match("^([%a_:][%w_:]*%b{}) (%S+)$")
            if not name then name, value = line:match("^([%a_:][%w_:]*) (%S+)$") end
            if not name or not tonumber(value) then error("not a sample: " .. line, 2) end
            if out[name] then error("twice: " .. line, 2) end
            out[name] = tonumber(value)
        end
    end
    return out
end

function M.all(rp)
    return M.parse(process.must(rp, "metrics"))
end

--- The value of one sample, nil when there is none.
function M.value(rp, sample)
    return M.all(rp)[sample]
end

--- What the account of an instance says: metrics.account(rp, "calls_total", "ratelimit").
function M.account(rp, what, instance)
    return M.value(rp, ('rproxy_plugin_%s{instance="%s"}'):format(what, instance))
end

return M
