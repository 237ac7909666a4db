-- SPDX-License-Identifier: MIT
--
-- exec: rp.exec: run a program while the task waits. No shell is between; the program has no
-- descriptor of the worker, and is killed with its process group when its time is over or the task
-- that waits for it ends.

local abi = require("rproxy.abi")
local grant = require("rproxy.grant")
local object = require("rproxy.object")
local options = require("rproxy.opts")
local task = require("rproxy.task")

local C, H, E = abi.C, abi.H, abi.E
local raise = object.raise

local M = {}

local OPTIONS = { argv = "table", stdin = { "string", "" }, timeout = { "seconds", 30 },
    max_output = { "whole", 1024 * 1024 }, env = "table", cwd = "string" }
local OUTPUT_MOST = 64 * 1024 * 1024
local PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

local function check_word(what, word)
    if type(word) == "number" then word = tostring(word) end
    if type(word) ~= "string" then raise("rp.exec: %s has a %s in it", what, type(word)) end
    if word:find("%z") then raise("rp.exec: %s has a NUL in it", what) end
    return word .. "\0"
end

local function argv_of(list)
    if not list or #list == 0 then
        raise("rp.exec takes argv, a list: the program and its words")
    end
    local out = {}
    for i, word in ipairs(list) do out[i] = check_word("argv", word) end
    if out[1] == "\0" then raise("rp.exec: the program has no name") end
    return table.concat(out)
end

-- What the worker has in its own environment may be secret: nothing of it is passed on but PATH.
local function env_of(given)
    local names, out = {}, {}
    for name in pairs(given or {}) do
        if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") then
            raise("rp.exec: env has names of letters, digits and _")
        end
        names[#names + 1] = name
    end
    table.sort(names)
    for i, name in ipairs(names) do
        out[i] = check_word("env", name .. "=" .. tostring(given[name]))
    end
    if not given or given.PATH == nil then
        out[#out + 1] = "PATH=" .. (os.getenv("PATH") or PATH) .. "\0"
    end
    return table.concat(out)
end

local function start_failure(code)
    if code == E.PHASE then raise("programs can be run in hooks only") end
    if code == E.BUSY then return nil, "busy", "too many programs run" end
    if code ~= E.OS then return nil, "invalid", "argv or env is too long" end
    local why = abi.out()
    if why:find("no such file", 1, true) then return nil, "not_found", why end
    if why:find("permission", 1, true) then return nil, "denied", why end
    return nil, "os", why
end

local function outcome(code, child)
    if code == E.TOO_BIG then
        C.rp_abi_exec_free(H, child)
        return nil, "too_big", "it wrote more than max_output"
    end
    local out, err, number = abi.out(), abi.string(H.out2.ptr, H.out2.len), H.number
    C.rp_abi_exec_free(H, child)
    if number < 0 then return { signal = -number, out = out, err = err } end
    return { status = number, out = out, err = err }
end

--- Run a program and wait for its end.
--- phases: all   yields: yes
--- @param given table  argv: the program (looked up in PATH when there is no "/" in it) and its
---   words; stdin: text; timeout: seconds (30); max_output: bytes of each output (1 MB); env:
---   variables by name, beside PATH; cwd
--- @return table|nil result  status, or signal when it was killed by one; out, err
--- @return string|nil code, string|nil detail  "timeout", "too_big", "not_found", "denied",
---   "busy", "invalid", "os"
function M.exec(given)
    local opts = options.check("rp.exec", given or {}, OPTIONS)
    if opts.max_output > OUTPUT_MOST then raise("rp.exec: max_output is at most 64 MB") end
    local argv, env = argv_of(opts.argv), env_of(opts.env)
    local cwd = opts.cwd and check_word("cwd", opts.cwd) or "\0"
    grant.exec(opts.argv, opts.env, opts.cwd)
    local code = C.rp_abi_exec(H, argv, #argv, env, #env, cwd, opts.stdin, #opts.stdin,
        opts.max_output)
    if code ~= abi.OK then return start_failure(code) end
    local child, at = H.handle, task.deadline_of(opts.timeout)
    code = C.rp_abi_exec_done(H, child)
    while code == abi.AGAIN do
        if not task.wait_until("a program", at) then
            C.rp_abi_exec_free(H, child)
            return nil, "timeout", "it took too long and was killed"
        end
        code = C.rp_abi_exec_done(H, child)
    end
    return outcome(code, child)
end

return M
