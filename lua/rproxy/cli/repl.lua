-- SPDX-License-Identifier: MIT
--
-- repl: `rproxy repl`: lines of Lua, run in a worker that serves (rproxy.repl).

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local host = require("rproxy.host")

local M = {}

M.SPEC = {
    usage = "repl -p site.lua [--worker N]",
    about = [[Read lines of Lua from standard input, run them in a worker that serves the site and
        print what they return. rp is there, and may wait: rp.redis, rp.http and so on. There is no
        request. What is assigned without local lives as long as the session.

        The site must allow it: lua = { repl = true }. Only root and the account of the master may
        ask, one session at a time; every line is in the error log.

        Exit status: 0, 1 when a line failed, 2 wrong usage.]],
    site = "needed",
    options = { { "worker", value = "N", doc = "its number; unsaid, the first that serves" } },
}

local SECONDS = 70      -- a line ends after 60
local TEXT_MOST = 30000 -- one message takes 32 KB

local function prompt(is_terminal, pending)
    if not is_terminal then return end
    io.stdout:write(pending and ">> " or "> ")
    io.stdout:flush()
end

-- One session is one number: the worker keeps what was assigned under it.
local function session_id()
    return require("rproxy.uuid").v4()
end

-- Terminals obey some bytes, and what is printed may come from strangers.
local function visible(text)
    return (text:gsub("[%z\1-\8\11-\31\127]", "?"))
end

function M.main(argv)
    local opts = args.read(argv, M.SPEC)
    cli.connect(opts.site, opts.overrides)
    local is_terminal = host.tool_call("tty") == 0
    local session, pending, failed = session_id(), nil, false
    prompt(is_terminal)
    for line in io.lines() do
        local text = pending and pending .. "\n" .. line or line
        pending = nil
        if text:find("%S") then
            if #text > TEXT_MOST then cli.fail("a line is longer than 30000 bytes", 1) end
            local status, answer = cli.ask(opts.worker, ("repl %s %s"):format(session, text),
                SECONDS)
            if status == 3 then
                pending = text
            elseif status == 0 then
                answer = is_terminal and visible(answer) or answer
                if answer ~= "" then io.stdout:write(answer, "\n") end
            else
                failed = true
                io.stdout:flush()
                io.stderr:write(is_terminal and visible(answer) or answer, "\n")
            end
        end
        prompt(is_terminal, pending)
    end
    if is_terminal then io.stdout:write("\n") end
    if pending then cli.fail("the last line is not finished", 1) end
    return failed and not is_terminal and 1 or 0
end

return M
