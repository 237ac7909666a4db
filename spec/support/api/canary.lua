-- SPDX-License-Identifier: MIT
local rp = require "rproxy"

local M = rp.plugin {
  name = "canary", stage = "route",
  schema = {
    upstream = { "upstream", required = true },              -- must exist in site.upstreams
    percent  = { "number", min = 0, max = 100, default = 0 },
    sticky   = { "string", match = "^cookie:[%w_-]+$" },     -- optional
    rules    = { "list", of = { header = { "header", required = true },
                                equals = "string", matches = "regex" }, default = {} },
    abort_at = { "number", default = 0.05 },                 -- error ratio that turns the canary off
  },
}

function M.setup(conf)
  local target  = rp.upstreams[conf.upstream]
  local cookie  = conf.sticky and conf.sticky:match("cookie:(.+)")
  local picked  = rp.metric.counter { "canary_requests_total", labels = { "upstream", "class" } }
  local ok, bad = 0, 0                                       -- per-worker window; no shared lock on the hot path

  local function chosen(req)
    for i = 1, #conf.rules do                                -- explicit rules win over percentages
      local r = conf.rules[i]
      if r.equals and req:is(r.header, r.equals) then return "rule" end
      if r.matches and req:test(r.header, r.matches) then return "rule" end
    end
    if cookie then
      local c = req:cookie(cookie)
      if c == "1" then return "sticky" elseif c == "0" then return nil end
    end
    -- stable by client: the same user keeps the same side while percent does not change
    if rp.hash(req.consumer or req.remote_ip, "canary") % 10000 < conf.percent * 100 then return "percent" end
  end

  return {
    start = function()
      rp.every(10, function()
        if ok + bad > 50 and bad / (ok + bad) > conf.abort_at then
          rp.log.error("canary disabled", { upstream = conf.upstream, errors = bad, of = ok + bad })
          rp.shared.flags:set("canary-off:" .. conf.upstream, "1", 300)   -- seen by every worker
        end
        ok, bad = 0, 0
      end)
    end,
    access = function(req)
      local why = chosen(req)
      if why and not rp.shared.flags:get("canary-off:" .. conf.upstream) then
        req.upstream = target
        req.ctx.canary = why
      end
    end,
    header_filter = function(req, res)
      if cookie and req.ctx.canary ~= "rule" and not req:cookie(cookie) then
        res:set_cookie { cookie, req.ctx.canary and "1" or "0", max_age = 86400, secure = true, http_only = true }
      end
    end,
    log = function(req, res)                                 -- client already has its answer; may yield
      if req.ctx.canary then
        if res.status >= 500 then bad = bad + 1 else ok = ok + 1 end
        picked:inc(conf.upstream, rp.status_class(res.status))
      end
    end,
  }
end

return M
