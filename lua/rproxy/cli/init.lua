-- SPDX-License-Identifier: MIT
--
-- cli: what `rproxy TOOL args..` runs. A tool is a module rproxy.cli.NAME with
--
--   M.main(args) -> exit status     args: the words of the command line without the tool's name
--
-- and a row in runtime/process/tool.c. It runs in a VM of the layer with all of Lua's libraries, in
-- a process that serves nobody. 0: done; 1: what was looked for is there (findings, differences,
-- failed tests); 2: trouble, in words on stderr.
--
--   args.read(argv, spec)    options and words, --help (rproxy.cli.args)
--   cli.fail(text)           ends the tool with 2
--   cli.path(path)           absolute path of a site
--   cli.check(path, over)    a site's model (rproxy.config.model), evaluated by a check
--   cli.read(path)           bytes of a file that is named on the command line
--   cli.connect(path, over)  to the master that serves a site
--   cli.ask(worker, text, s) what a worker of it answers (rproxy.ask)
--   cli.order(text, s)       what the master itself answers
--   cli.pause(s)             wait
--
-- A tool whose row says `runs_site` may run site code in its own VM; called by root it has the
-- account of workers. It reads a site's files by host.read, never by io.

local host = require("rproxy.host")

local M = {}

local Failure = {}

--- End the tool: "rproxy: TEXT" and exit status 2 (or another one).
function M.fail(text, status)
    error(setmetatable({ text = text, status = status or 2 }, Failure), 0)
end

--- End the tool well, having said all there is to say.
function M.done()
    error(setmetatable({ status = 0 }, Failure), 0)
end

--- The absolute path of a site. Fails when there is none.
--- @param path string  as written
--- @return string
function M.path(path)
    local status, text = host.tool_call("path", path)
    if status ~= 0 then M.fail(("%s: %s"):format(path, text)) end
    return text
end

--- Evaluate a site in a check, as `rproxy -t` does.
--- @param path string  as written
--- @param overrides string  "name=value" lines
--- @return table|nil model, string|nil err  the report, a mistake per line
function M.check(path, overrides)
    local status, text = host.tool_call("check", M.path(path), overrides or "", "model")
    if status ~= 0 then return nil, text end
    return require("rproxy.config.model").read(text)
end

--- The bytes of a file that is named on the command line, whoever the process has become.
--- @return string|nil bytes, string|nil err
function M.read(path)
    local status, text = host.tool_call("argument", path)
    if status ~= 0 then return nil, text end
    return text
end

--- Connect to the master that serves a site; the tool ends when there is none.
--- @param path string
--- @param overrides string  pid= counts
function M.connect(path, overrides)
    local pid = ("\n" .. (overrides or "")):match("^.*\npid=([^\n]*)") or ""
    local status, text = host.tool_call("connect", M.path(path), pid)
    if status ~= 0 then M.fail(text, 1) end
end

--- Ask a worker of that master: rproxy.ask says what they understand. The tool ends when no answer
--- comes.
--- @param worker string|nil  its number; nil: any
--- @param text string
--- @param seconds number  to wait for the answer
--- @return number status, string text
function M.ask(worker, text, seconds)
    if worker and worker ~= "agent" and not worker:find("^%d+$") then
        M.fail("--worker takes a number, or agent")
    end
    local status, answer = host.tool_call("say", ("ask %s %s"):format(worker or "any", text),
        ("%d"):format(seconds))
    if status == 255 then M.fail(answer, 1) end
    return status, answer
end

--- Tell that master itself something ("upstreams", "peer ..").
--- @return number status, string text
function M.order(text, seconds)
    local status, answer = host.tool_call("say", text, ("%d"):format(seconds))
    if status == 255 then M.fail(answer) end
    return status, answer
end

--- Do nothing for so long.
function M.pause(seconds)
    host.tool_call("pause", ("%d"):format(math.floor(seconds * 1000)))
end

-- The folder we are in is nobody's module path: who may write there would be run by who looks.
local function harden_path()
    local kept = {}
    for pattern in package.path:gmatch("[^;]+") do
        if pattern:sub(1, 1) == "/" then kept[#kept + 1] = pattern end
    end
    package.path = table.concat(kept, ";")
    kept = {}
    for pattern in package.cpath:gmatch("[^;]+") do
        if pattern:sub(1, 1) == "/" then kept[#kept + 1] = pattern end
    end
    package.cpath = table.concat(kept, ";")
end

--- Run a tool; C calls this.
--- @param name string
--- @param args string[]
--- @return number  exit status
function M.run(name, args)
    harden_path()
    io.stdout:setvbuf("full")
    local ran, status = xpcall(function()
        return require("rproxy.cli." .. name).main(args)
    end, function(err)
        return getmetatable(err) == Failure and err or debug.traceback(tostring(err), 2)
    end)
    io.stdout:flush()
    if ran then return status or 0 end
    if getmetatable(status) ~= Failure then status = { status = 2, text = status } end
    if status.text then io.stderr:write("rproxy: ", name, ": ", status.text, "\n") end
    return status.status
end

return M
