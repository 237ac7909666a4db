-- SPDX-License-Identifier: MIT
--
-- grant: the one place that every way out of the process goes through: "net" (an address), "fs" (a
-- path), "exec" (a program). All of them are granted to all code of a site: there are no rules yet.

local M = {}

--- May the code that runs do this? Raises when it may not.
--- @param kind string  "net", "fs", "exec"
--- @param what string  address, path, program
function M.check(_, _) end

return M
