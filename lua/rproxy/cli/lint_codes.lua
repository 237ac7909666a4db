-- SPDX-License-Identifier: MIT
--
-- lint_codes: what `rproxy lint` can find: code, level and, for the guide, what it is about. Those
-- of luacheck are "lua-NNN", listed in its own documentation.

local M = {}

--- From the gravest.
M.LEVELS = { error = 3, warning = 2, info = 1 }

M.CODES = {
    -- of one file
    { "syntax", "error", "the file is no Lua" },
    { "unknown-global", "error", "a global that sites do not have; reading it raises" },
    { "global-write", "error", "a global is written; doing so raises" },
    { "unknown-rp", "error", "rproxy has no such field" },
    { "unreturned-exit", "error", "an answer is made, and the hook goes on after it" },
    { "pairs-headers", "error", "pairs over headers; they have an iterator of their own" },
    { "hook-closure", "warning", "a function is made in a hook; no trace compiles that" },
    { "hook-construct", "warning", "what can be made once is made for each request" },
    { "hook-require", "warning", "a module is required in a hook" },
    { "hook-pattern", "warning", "a Lua pattern in a hook; no trace compiles it" },
    { "hook-concat", "warning", "a string grows in a loop of a hook" },
    { "hook-table", "info", "a table is made in each turn of a loop of a hook" },
    { "hook-upvalue", "info", "a hook writes a variable that all requests of the worker share" },
    { "regex-explodes", "warning", "a regular expression that some input makes exponential" },
    -- of the whole site
    { "unreachable-route", "error", "another route takes all its requests" },
    { "trust-everybody", "error", "any client may say where a request came from" },
    { "open-proxy", "warning", "CONNECT to anywhere" },
    { "no-auth", "info", "no instance of stage auth sees the requests of a route" },
    { "auth-fails-open", "warning", "a failing auth hook lets requests pass" },
    { "order", "warning", "plugins run in an order that defeats one of them, or twice" },
    { "unused-zone", "warning", "nobody uses a zone of shared memory" },
    { "unused-upstream", "warning", "nobody uses an upstream" },
    { "no-limit", "warning", "a limit or timeout is switched off" },
    { "tls-unverified", "warning", "the certificate of an upstream is not looked at" },
    { "plain-text", "info", "a listener that others reach has no TLS" },
}

M.level_of = {}
for _, row in ipairs(M.CODES) do M.level_of[row[1]] = row[2] end

--- @param code string
--- @return string level
function M.level(code)
    local known = M.level_of[code]
    if known then return known end
    local class = code:match("^lua%-(%d)")
    return class == "0" and "error" or (class == "1" or class == "3" or class == "5") and "warning"
        or code:find("^lua%-2[13]") and "warning" or "info"
end

return M
