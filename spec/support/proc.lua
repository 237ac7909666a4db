-- SPDX-License-Identifier: MIT
--
-- proc: run rproxy, or any other program, for a spec.
--
--   local proc = require("spec.support.proc")
--   local rp = proc.rproxy {
--       site = [[ return rp.site { listeners = { rp.listen { "127.0.0.1:${port}" } }, ... } ]],
--       vars = { origin = origin.port },          -- ${origin}; ${port} and ${dir} always are
--       files = { ["policy.lua"] = "return 1" },  -- beside site.lua, in rp.dir
--   }                                               -- listens now
--   http.get(rp.port, "/")
--   rp:signal("HUP")
--   rp:wait_stderr("reload")                        -- a Lua pattern; returns what matched
--   rp:stop()                                       -- SIGTERM; asserts a clean end
--   after_each(proc.cleanup)                        -- ends what a failed test left behind
--
-- `local rp = require("rproxy")` is put before a site text that does not require it itself.
-- Environment: RP_BIN (build/rproxy), RP_KEEP=1 keeps the temporary folders.

local posix = require("spec.support.posix")
local protocol = require("spec.support.protocol")

-- A sanitizer that was loaded into this process is not for those that it starts: rproxy has its own,
-- and others become slow by it, or hang.
posix.C.unsetenv("LD_PRELOAD")

local M = {}
local Proc = {}
Proc.__index = Proc

local running = {} -- handle -> true
local dirs = {} -- temporary folder -> true

-- What in a program's output means that it is broken, however it ended.
-- (A spec that kills a worker does so by SIGKILL or SIGTERM: what else ends one is a crash.)
local COMPLAINTS = { "ERROR: %w+Sanitizer", "runtime error:", "check failed", "PANIC",
    'worker died [^\n]*how="signal [4678] ', 'worker died [^\n]*how="signal 11 ' }

function M.temp_dir()
    local dir = posix.temp_dir()
    dirs[dir] = true
    return dir
end

--- Start a program with its output kept in files.
--- opt: env, cwd, dir (for the output; a new one), quiet_end (complaints in stderr are expected).
function M.spawn(argv, opt)
    opt = opt or {}
    local dir = opt.dir or M.temp_dir()
    local p = setmetatable({ dir = dir, stderr_path = dir .. "/stderr", name = argv[1],
        stdout_path = dir .. "/stdout", complaints_expected = opt.quiet_end }, Proc)
    p.pid = posix.spawn(argv, { stderr = p.stderr_path, stdout = p.stdout_path,
        env = opt.env, cwd = opt.cwd })
    running[p] = true
    return p
end

function Proc:stderr()
    return posix.read_file(self.stderr_path) or ""
end

function Proc:stdout()
    return posix.read_file(self.stdout_path) or ""
end

--- How it ended ({ exit = n } or { signal = n }); nil when it still runs after `seconds` (45).
function Proc:wait(seconds)
    if not self.ended then
        self.ended = posix.wait(self.pid, seconds or 45)
        if self.ended then running[self] = nil end
    end
    return self.ended
end

function Proc:is_running()
    return self:wait(0) == nil
end

function Proc:signal(name)
    assert(not self.ended, "it has ended already")
    return posix.kill(self.pid, name)
end

--- Wait until its stderr matches a Lua pattern; raises with the whole text when it does not.
function Proc:wait_stderr(pattern, seconds)
    local found = posix.poll(function() return self:stderr():match(pattern) end, seconds)
    if not found then
        error(("no %q in stderr:\n%s"):format(pattern, self:stderr()), 2)
    end
    return found
end

-- Forks made between two looks at the tree are rare: look until nothing is left.
local function kill_tree(pid)
    for _, p in ipairs(posix.tree(pid)) do
        posix.kill(p, "KILL")
    end
end

local function describe(how)
    if not how then return "still runs" end
    return how.signal and ("was killed by signal " .. how.signal) or ("exit status " .. how.exit)
end

--- Ask it to end and assert that it does so cleanly: exit status 0, nothing left, no sanitizer
--- report. opt: signal ("TERM"), seconds (45), exit (0), children_seconds (45).
function Proc:stop(opt)
    opt = opt or {}
    local tree = posix.tree(self.pid)
    if self:is_running() then self:signal(opt.signal or "TERM") end
    local how = self:wait(opt.seconds or 45)
    if not how then kill_tree(self.pid) end
    self:wait(5)
    local text = self:stderr()
    if not how or how.exit ~= (opt.exit or 0) then
        error(("%s: %s after SIG%s; stderr:\n%s"):format(self.name, describe(how),
            opt.signal or "TERM", text), 2)
    end
    for i = 2, #tree do
        local gone = posix.poll(function() return not posix.alive(tree[i]) end,
            opt.children_seconds or 45)
        if not gone then
            posix.kill(tree[i], "KILL")
            error(("%s: child %d outlived it; stderr:\n%s"):format(self.name, tree[i], text), 2)
        end
    end
    self:assert_no_complaints()
    return text
end

function Proc:assert_no_complaints()
    if self.complaints_expected then return end
    local text = self:stderr()
    for _, complaint in ipairs(COMPLAINTS) do
        if text:find(complaint) then error(self.name .. ": stderr:\n" .. text, 2) end
    end
end

--- Memory (kB, proportional) and open descriptors of the whole process tree.
function Proc:cost()
    return posix.tree_cost(self.pid)
end

local function fill_in(text, vars)
    return (text:gsub("%${([%w_]+)}", function(name)
        local value = vars[name]
        if value == nil then error("no value for ${" .. name .. "}", 0) end
        return tostring(value)
    end))
end

local function write_site(dir, site, vars)
    local text = protocol.site(fill_in(site, vars))
    if not text:find("require%s*%(?%s*[\"']rproxy[\"']") then
        text = 'local rp = require("rproxy") ' .. text -- same line: line numbers stay true
    end
    posix.write_file_whole(dir .. "/site.lua", text)
end

-- Raises with its stderr when it ends instead of listening.
local function wait_listening(p, ports, seconds)
    local all = posix.poll(function()
        if not p:is_running() then
            error(("%s ended at its start: %s; stderr:\n%s"):format(p.name, describe(p.ended),
                p:stderr()), 0)
        end
        for _, port in ipairs(ports) do
            if not posix.is_listening(port) then return false end
        end
        return true
    end, seconds)
    if not all then
        error(("%s does not listen; stderr:\n%s"):format(p.name, p:stderr()), 0)
    end
end

--- Start rproxy with a site text and wait until it listens.
--- opt: site (text), vars, files (name -> text), args (more arguments), env, ports (to wait for;
--- default its ${port}; {} does not wait), seconds (to listen, 45), quiet_end, bin (RP_BIN).
function M.rproxy(opt)
    local dir = M.temp_dir()
    local vars = { dir = dir, port = opt.port or posix.free_port() }
    for name, value in pairs(opt.vars or {}) do vars[name] = value end
    for name, text in pairs(opt.files or {}) do
        posix.write_file(dir .. "/" .. name, fill_in(text, vars))
    end
    write_site(dir, opt.site, vars)

    local argv = { opt.bin or os.getenv("RP_BIN") or "build/rproxy", "-p", dir .. "/site.lua" }
    for _, arg in ipairs(opt.args or {}) do argv[#argv + 1] = arg end
    local p = M.spawn(argv, { dir = dir, env = opt.env, quiet_end = opt.quiet_end })
    p.port, p.vars, p.site_path = vars.port, vars, dir .. "/site.lua"
    local ok, err = pcall(wait_listening, p, opt.ports or { vars.port }, opt.seconds or 45)
    if not ok then error(err, 2) end
    return p
end

--- Replace the site text of a running rproxy (nothing is signalled).
function Proc:write_site(site, vars)
    for name, value in pairs(vars or {}) do self.vars[name] = value end
    write_site(self.dir, site, self.vars)
end

--- Run a program to its end; returns how it ended, stdout, stderr.
function M.run(argv, opt)
    local p = M.spawn(argv, opt)
    local seconds = opt and opt.seconds or 45
    if not p:wait(seconds) then
        kill_tree(p.pid)
        p:wait(5)
        error(("%s: not done after %g s; stderr:\n%s"):format(argv[1], seconds, p:stderr()), 2)
    end
    return p.ended, p:stdout(), p:stderr()
end

--- End everything still running, and remove the temporary folders.
function M.cleanup()
    for p in pairs(running) do
        kill_tree(p.pid)
        p:wait(5)
    end
    running = {}
    if not os.getenv("RP_KEEP") then
        for dir in pairs(dirs) do posix.remove_dir(dir) end
    end
    dirs = {}
end

return M
