-- SPDX-License-Identifier: MIT
--
-- ask: what people ask a running worker through the control socket. C calls run on a background
-- task with the text of the question: "KIND REST", and takes the answer by host.answer: a status
-- (that of the command) and a text.

local abi = require("rproxy.abi")
local boot = require("rproxy.config.boot")
local repl = require("rproxy.repl")

local M = {}

local TEXT_MOST = 32 * 1024 - 64 -- of one message; runtime/process/channel.h

local KINDS = {}

-- "repl SESSION LINE": the option is looked at each time: a reload may have changed it.
KINDS["repl"] = function(rest)
    if not boot.lua().repl then
        return 1, "the site does not allow it: write lua = { repl = true }, and reload"
    end
    local session, line = rest:match("^(%S+) ?(.*)$")
    if not session then return 2, "a session is missing" end
    return repl.line(session, line)
end

KINDS["repl-end"] = function()
    repl.close()
    return 0, ""
end

-- "jit SECONDS": JSON of what was compiled meanwhile; 0: of what lua.jit_report has counted.
KINDS["jit"] = function(rest)
    return require("rproxy.jit_report").answer(tonumber(rest) or 0)
end

-- "peers UPSTREAM": what this worker's balancer sees of it, a line for each peer.
KINDS["peers"] = function(name)
    local index = abi.C.rp_abi_upstream_find(abi.H, name, #name)
    if index < 0 then return 1, ("no upstream %q"):format(name) end
    if abi.C.rp_abi_peer_view(abi.H, index) ~= 0 then return 1, "it is not in use yet" end
    return 0, abi.out()
end

--- Answer one question. Called by C.
--- @param ticket number  0: nobody waits for the answer
--- @param text string
function M.run(ticket, text)
    local kind, rest = text:match("^(%S+) ?(.*)$")
    local status, answer = 2, "workers do not understand " .. tostring(kind)
    if KINDS[kind] then
        local ran, a, b = pcall(KINDS[kind], rest)
        if ran then status, answer = a, b else status, answer = 1, tostring(a) end
    end
    if #answer > TEXT_MOST then answer = answer:sub(1, TEXT_MOST) .. "\n... (cut)" end
    if ticket ~= 0 then abi.host.answer(ticket, status, answer) end
end

return M
