-- SPDX-License-Identifier: MIT
--
-- support: what the specs of base/ and shm/ share.

local c = require("spec.support.c")
local posix = require("spec.support.posix")

local ffi, P = c.ffi, posix.C
local M = {}

--- Debug builds keep no free lists and check more.
M.DEBUG = os.getenv("RP_MODE") == "debug"

--- Run fn in a child with stderr closed; { exit = fn's number or 0 } or { signal = n }.
function M.in_child(fn)
    io.stdout:flush()
    local pid = P.fork()
    assert(pid >= 0)
    if pid == 0 then
        P.dup2(P.open("/dev/null", 1), 2)
        local ok, n = pcall(fn)
        P._exit(ok and (tonumber(n) or 0) or 99)
    end
    return assert(posix.wait(pid, 10), "the child does not end")
end

--- Does fn end its process by a failed check?
function M.aborts(fn)
    return M.in_child(fn).signal == 6
end

--- All that fn writes to stderr.
function M.stderr_of(fn)
    local path = os.tmpname()
    io.stderr:flush()
    local saved = P.dup2(2, 77)
    local fd = P.open(path, 1 + 512) -- O_WRONLY | O_TRUNC
    assert(saved == 77 and fd >= 0)
    P.dup2(fd, 2)
    local ok, err = pcall(fn)
    P.dup2(77, 2)
    P.close(77)
    P.close(fd)
    local text = posix.read_file(path)
    os.remove(path)
    assert(ok, err)
    return text
end

--- Bytes of a C array as a Lua string.
function M.bytes(ptr, n)
    return ffi.string(ptr, tonumber(n))
end

return M
