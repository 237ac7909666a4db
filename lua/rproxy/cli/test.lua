-- SPDX-License-Identifier: MIT
--
-- test: `rproxy test`.

local M = {}

function M.main(argv)
    return require("rproxy.test.run").main(argv)
end

return M
