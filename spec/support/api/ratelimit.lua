-- SPDX-License-Identifier: MIT
local rp = require "rproxy"

local LIMIT, REMAIN, RETRY = rp.header "ratelimit-limit", rp.header "ratelimit-remaining", rp.header "retry-after"

local M = rp.plugin {
  name = "ratelimit", stage = "limit",
  schema = {
    dict  = { "shared:buckets", required = true },           -- checked against site.shared at load
    rate  = { "number", min = 0.001, required = true },      -- tokens per second
    burst = { "number", min = 1, required = true },
    key   = { "enum", { "ip", "consumer", "route" }, default = "ip" },
    cost  = { "number", default = 1 },
    fail  = { "enum", { "open", "closed" }, default = "open" },
  },
}

local KEY = {                                                -- key functions return (bytes, len) slices
  ip       = function(req) return req.remote_ip end,
  consumer = function(req) return req.consumer or req.remote_ip end,
  route    = function(req) return req.route.id end,
}

function M.setup(conf)
  local bucket = rp.shared[conf.dict]
  local key_of = KEY[conf.key]
  local denied = rp.metric.counter { "ratelimit_denied_total", labels = { "route" } }
  return {
    access = function(req)
      -- one FFI call: find-or-create, refill by elapsed time, take; atomic across workers
      local left, wait = bucket:take(key_of(req), conf.rate, conf.burst, conf.cost)
      if left then
        req.ctx.rl_left = left
        return
      end
      if not wait then                                       -- zone unusable, e.g. full of live keys
        if conf.fail == "open" then return end
        return req:exit(503)
      end
      denied:inc(req.route.id)
      return req:exit(429, "rate limit exceeded\n", { [RETRY] = math.ceil(wait) })
    end,
    header_filter = function(req, res)
      local left = req.ctx.rl_left
      if left then
        res:set(LIMIT, conf.burst)
        res:set(REMAIN, math.floor(left))
      end
    end,
  }
end

return M
