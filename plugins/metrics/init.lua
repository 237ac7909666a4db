-- SPDX-License-Identifier: MIT
--
-- metrics: answers with all metrics of all workers, as Prometheus reads them.

local rp = require("rproxy")

local M = rp.plugin {
    name = "metrics",
    version = "0.1.0",
    stage = "observe",
    doc = "Answer with all metrics, for Prometheus.",
    schema = {},
}

local TYPE = "text/plain; version=0.0.4; charset=utf-8"

function M.setup()
    return {
        content = function(req)
            local text, err = rp.metric.text()
            if not text then
                rp.log.error("metrics cannot be read", { error = err })
                return req:exit(503)
            end
            return req:exit(200, text, { ["content-type"] = TYPE, ["cache-control"] = "no-store" })
        end,
    }
end

return M
