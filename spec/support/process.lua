-- SPDX-License-Identifier: MIT
--
-- process: what the specs of master, workers and commands share.
--
--   local process = require("spec.support.process")
--   local rp = process.start { routes = [[ rp.route { "/*", respond = { 200, "one" } } ]] }
--   local how, out, err = process.run(rp, "reload")   -- rproxy reload -p its site
--   process.workers(rp)                               -- pids of the workers, in no order
--   process.stop(rp)                                  -- in teardown

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")

local M = {}

M.BIN = os.getenv("RP_BIN") or "build/rproxy"

--- Text of a site. opt: workers (2), routes, more (further options), listen (extra listeners), before
--- (Lua text before it).
function M.site(opt)
    return (opt.before or "") .. ([[ return rp.site { workers = %s, %s
        listeners = { rp.listen { "127.0.0.1:${port}" }, %s },
        hosts = { rp.host { default = true, routes = { %s } } } }]]):format(opt.workers or 2,
        opt.more or "", opt.listen or "",
        opt.routes or 'rp.route { "/*", respond = { 200, "one" } }')
end

--- Start a site and wait until it listens and says that it serves. Options as for M.site, and those
--- of proc.rproxy but site.
function M.start(opt)
    opt = opt or {}
    local all = {}
    for name, value in pairs(opt) do all[name] = value end
    all.site = M.site(opt)
    local rp = proc.rproxy(all)
    rp:wait_stderr("serving site=")
    return rp
end

--- Write another site for a running one; options as for M.site.
function M.change(rp, opt)
    rp:write_site(M.site(opt))
end

--- Options of a site that answers everything with that text.
function M.answer(text)
    return { routes = ('rp.route { "/*", respond = { 200, "%s" } }'):format(text) }
end

--- ... and whose start hook says that it waits, and waits until open() is called: time to do
--- something meanwhile (10 s: no start hook may take longer). Returns the options, open.
function M.held_start(text)
    local dir = proc.temp_dir()
    os.execute(("chmod 755 '%s'"):format(dir)) -- workers of root's are somebody else
    return { routes = ([[ rp.route { "/*", respond = { 200, "%s" }, use = {
        { name = "held", start = function()
            rp.log.notice("start hook waits")
            while not rp.fs.stat("%s/go") do rp.sleep(0.01) end end } } } ]]):format(text, dir) },
        function() posix.write_file(dir .. "/go", "") end
end

--- Wait until a command that was started by proc.spawn has asked the master and waits for an answer:
--- it has a socket and sleeps.
function M.wait_asked(p)
    local asked = posix.poll(function()
        if not p:is_running() then return true end
        local pipe = io.popen("ls -l /proc/" .. p.pid .. "/fd 2>/dev/null")
        local has_socket = pipe:read("*a"):find("socket:", 1, true)
        pipe:close()
        local stat = posix.read_file("/proc/" .. p.pid .. "/stat") or ""
        return has_socket and stat:find("^%d+ %b() S")
    end)
    if not asked then error("it does not ask: " .. p:stderr(), 2) end
end

--- Every worker answers that text: as many requests on connections of their own as it takes.
function M.all_say(rp, text)
    for _ = 1, 20 do
        local said = M.body(rp)
        if said ~= text then error(("%q answered, not %q"):format(said, text), 2) end
    end
end

--- Run the program: process.run(rp, "reload", ...) adds -p SITE; process.run({...}) does not.
function M.run(rp, ...)
    if rp.site_path then return proc.run { M.BIN, "-p", rp.site_path, ... } end
    local argv = { M.BIN }
    for _, word in ipairs(rp) do argv[#argv + 1] = word end
    return proc.run(argv)
end

--- Run a command that must succeed; its output.
function M.must(rp, ...)
    local how, out, err = M.run(rp, ...)
    if how.exit ~= 0 then error(("%s failed: %s%s"):format((...), out, err), 2) end
    return out
end

--- Pids of the workers. While a reload checks, its checker is no worker: none may be under way.
function M.workers(rp)
    local pids = {}
    for i, pid in ipairs(posix.tree(rp.pid)) do
        local name = posix.read_file("/proc/" .. pid .. "/comm") or ""
        if i > 1 and name ~= "rproxy-watch\n" and name ~= "rproxy-agent\n" then pids[#pids + 1] = pid end
    end
    return pids
end

--- Wait until there are n workers, none of which is in `without` (a list).
function M.wait_workers(rp, n, without)
    local gone = {}
    for _, pid in ipairs(without or {}) do gone[pid] = true end
    local found = posix.poll(function()
        local live = {}
        for _, pid in ipairs(M.workers(rp)) do
            if gone[pid] then return nil end
            if posix.alive(pid) then live[#live + 1] = pid end
        end
        return #live == n and live
    end, 30)
    if not found then
        error(("not %d workers but %d; stderr:\n%s"):format(n, #M.workers(rp), rp:stderr()), 2)
    end
    return found
end

--- Body of GET target; raises when there is no answer.
function M.body(rp, target)
    return http.get(rp.port, target or "/").body
end

--- End it cleanly and whatever else a spec started.
function M.stop(rp, opt)
    wire.close_all()
    local ok, err = true, nil
    if rp then ok, err = pcall(rp.stop, rp, opt) end
    proc.cleanup()
    if not ok then error(err, 0) end
end

--- The same where it may have ended already.
function M.stop_if_running(rp)
    M.stop(rp and rp:is_running() and rp or nil)
end

return M
