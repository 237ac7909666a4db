-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local posix = require("spec.support.posix")
local ffi = c.ffi

local C = c.load { "process/os.h", "base/buf.h" }
ffi.cdef [[ int dup(int fd); int ftruncate(int fd, long n);
    long write(int fd, const void *p, size_t n); int raise(int s); int fcntl(int fd, int cmd, ...);
    int getuid(void); int memfd_create(const char *name, unsigned flags); ]]

local function is_open(fd)
    return ffi.C.fcntl(fd, 1) >= 0 -- F_GETFD
end

-- Run in a child; true when `check` returned true there.
local function in_child(check)
    local pid = posix.C.fork()
    if pid == 0 then
        local ok, value = pcall(check)
        posix.C._exit(ok and value and 0 or 1)
    end
    return posix.wait(pid, 20).exit == 0
end

describe("process/os", function()
    it("seals a memory file: it can be mapped, and never changed", function()
        local fd, bytes = ffi.new("int[1]"), ffi.new("rp_str")
        assert.equal("OK", c.err_name(C.rp_os_memfd_seal("x", c.str("hello"), fd)))
        assert.equal(-1, tonumber(ffi.C.write(fd[0], "y", 1)))
        assert.equal(-1, ffi.C.ftruncate(fd[0], 1))
        assert.equal("OK", c.err_name(C.rp_os_memfd_map(fd[0], 100, bytes)))
        assert.equal("hello", c.lua(bytes))
        C.rp_os_unmap(bytes)
        assert.is_true(bytes.ptr == nil)
        assert.equal("TOO_BIG", c.err_name(C.rp_os_memfd_map(fd[0], 4, bytes)))
        C.rp_os_close(fd)
        assert.equal(-1, fd[0])
    end)

    it("does not map what could still change", function()
        local bytes = ffi.new("rp_str")
        local fd = ffi.C.memfd_create("open", 3)
        ffi.C.write(fd, "hello", 5)
        assert.equal("INVALID", c.err_name(C.rp_os_memfd_map(fd, 100, bytes)))
        posix.C.close(fd)
        local file = posix.C.open("Makefile", 0)
        assert.equal("INVALID", c.err_name(C.rp_os_memfd_map(file, 1e6, bytes)))
        posix.C.close(file)
    end)

    it("closes all descriptors but those it is told to keep", function()
        assert.is_true(in_child(function()
            local a, b, d = ffi.C.dup(2), ffi.C.dup(2), ffi.C.dup(2)
            local keep = ffi.new("int[4]", { d, -1, a, a })
            C.rp_os_close_others(keep, 4)
            return is_open(a) and not is_open(b) and is_open(d) and is_open(0) and is_open(2)
        end))
    end)

    it("reads at most what it may", function()
        local buf = ffi.new("struct rp_buf")
        C.rp_buf_init(buf, 1e7)
        local fd = posix.C.open("Makefile", 0)
        assert.equal("OK", c.err_name(C.rp_os_read_all(fd, 1e6, buf)))
        assert.equal(posix.read_file("Makefile"), c.lua(C.rp_buf_str(buf)))
        posix.C.close(fd)
        fd = posix.C.open("Makefile", 0)
        assert.equal("TOO_BIG", c.err_name(C.rp_os_read_all(fd, 100, buf)))
        posix.C.close(fd)
        C.rp_buf_fini(buf)
    end)

    it("knows how processes are", function()
        assert.equal("R", string.char(C.rp_os_process_state(posix.C.getpid())))
        assert.equal("?", string.char(C.rp_os_process_state(4194304)))
        assert.is_true(C.rp_os_cores() >= 1)
    end)

    it("describes ends", function()
        local out = ffi.new("char[64]")
        C.rp_os_describe_end(3 * 256, out)
        assert.equal("exit status 3", ffi.string(out))
        C.rp_os_describe_end(9, out)
        assert.match("^signal 9 %(", ffi.string(out))
    end)

    it("finds accounts, and falls back to one that can do little", function()
        local a = ffi.new("struct rp_os_account")
        assert.equal("OK", c.err_name(C.rp_os_account_find(c.str("root"), a)))
        assert.equal(0, a.uid)
        assert.equal("NOT_FOUND", c.err_name(C.rp_os_account_find(c.str("no such one"), a)))
        assert.equal("NOT_FOUND", c.err_name(C.rp_os_account_find(c.str(("x"):rep(99)), a)))
        assert.equal("OK", c.err_name(C.rp_os_account_choose(c.str(""), a)))
        local name = ffi.string(a.name)
        assert.is_true(name == "rproxy" or name == "nobody")
        assert.is_true(a.uid ~= 0)
    end)

    it("becomes another account for good", function()
        if ffi.C.getuid() ~= 0 then return end
        assert.is_true(in_child(function()
            local a = ffi.new("struct rp_os_account")
            assert(C.rp_os_account_find(c.str("nobody"), a) == 0)
            if C.rp_os_become(a) ~= 0 then return false end
            local status = posix.read_file("/proc/self/status")
            return ffi.C.getuid() == a.uid and status:find("NoNewPrivs:%s+1")
                and status:find("CapEff:%s+0000000000000000")
                and status:find("CapPrm:%s+0000000000000000")
                and not status:find("Groups:[^\n]*%f[%d]0%f[%D]")
        end))
    end)
end)
