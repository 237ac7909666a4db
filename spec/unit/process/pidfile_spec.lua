-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local posix = require("spec.support.posix")
local ffi = c.ffi

local C = c.load { "process/pidfile.h", "base/buf.h" }
ffi.cdef [[ int getuid(void); int symlink(const char *to, const char *path);
    int chmod(const char *path, unsigned mode); ]]

local function site(path)
    local out = ffi.new("char[512]")
    local e = C.rp_pidfile_site(path, out)
    return e == 0 and ffi.string(out) or nil, c.err_name(e)
end

local function name(path)
    local out = ffi.new("char[80]")
    C.rp_pidfile_name(path, out)
    return ffi.string(out)
end

describe("process/pidfile", function()
    local dir, error_text

    local function locate(at, make)
        local p, buf = ffi.new("struct rp_pidfile"), ffi.new("struct rp_buf")
        C.rp_buf_init(buf, 4096)
        local e = C.rp_pidfile_locate(p, "/etc/rproxy/site.lua", at, make or false, buf)
        error_text = c.lua(C.rp_buf_str(buf))
        C.rp_buf_fini(buf)
        return c.err_name(e), p
    end

    local function take(p)
        local buf = ffi.new("struct rp_buf")
        C.rp_buf_init(buf, 4096)
        local e = C.rp_pidfile_take(p, buf)
        error_text = c.lua(C.rp_buf_str(buf))
        C.rp_buf_fini(buf)
        return c.err_name(e)
    end

    before_each(function() dir = posix.temp_dir() end)
    after_each(function() posix.remove_dir(dir) end)

    it("makes one absolute path of the many ways to write it", function()
        assert.equal("/etc/site.lua", site("/etc/site.lua"))
        assert.equal("/etc/site.lua", site("//etc/././/site.lua"))
        local cwd = io.popen("pwd -P"):read("*l")
        assert.equal(cwd .. "/x.lua", site("x.lua"))
        assert.equal(cwd .. "/x.lua", site("./x.lua"))
        assert.equal(cwd .. "/x.lua", site("runtime/../x.lua"))
        assert.is_nil(site("nowhere/../x.lua"))
        assert.is_nil(site(("x"):rep(600)))
    end)

    it("follows links in the folder before .., and keeps a link of the file", function()
        posix.C.mkdir(dir .. "/a", 448)
        posix.C.mkdir(dir .. "/a/b", 448)
        ffi.C.symlink(dir .. "/a/b", dir .. "/link")
        assert.equal(dir .. "/a/s.lua", site(dir .. "/link/../s.lua"))
        assert.equal(dir .. "/link/s.lua", site(dir .. "/link/s.lua"))
    end)

    it("names sites without two paths sharing a name", function()
        assert.equal("etc-rproxy-site.lua", name("/etc/rproxy/site.lua"))
        assert.not_equal(name("/a-b/c.lua"), name("/a/b-c.lua"))
        assert.not_equal(name("/a%2db/c.lua"), name("/a-b/c.lua"))
        local long = "/srv/" .. ("d"):rep(200)
        assert.is_true(#name(long .. "1/site.lua") < 80)
        assert.not_equal(name(long .. "1/site.lua"), name(long .. "2/site.lua"))
        assert.equal(name(long .. "1/site.lua"), name(long .. "1/site.lua"))
    end)

    it("puts the socket beside a chosen pid file", function()
        local e, p = locate("/x/y.pid")
        assert.equal("OK", e)
        assert.equal("/x/y.pid", ffi.string(p.path))
        assert.equal("/x/y.sock", ffi.string(p.sock))
        e, p = locate("/x/y")
        assert.equal("OK", e)
        assert.equal("/x/y.sock", ffi.string(p.sock))
    end)

    it("refuses a relative pid file and one too long for a socket beside it", function()
        assert.equal("INVALID", (locate("y.pid")))
        assert.match("absolute", error_text)
        assert.equal("TOO_BIG", (locate("/" .. ("y"):rep(120))))
        assert.match("too long", error_text)
    end)

    it("refuses a run directory that others can write to", function()
        if ffi.C.getuid() == 0 then return end -- root's is /run/rproxy
        posix.C.setenv("XDG_RUNTIME_DIR", dir, 1)
        assert.equal("OK", (locate(nil, true)))
        ffi.C.chmod(dir .. "/rproxy", tonumber("777", 8))
        assert.equal("INVALID", (locate(nil, true)))
        assert.match("not safe", error_text)
    end)

    it("locks, tells the pid, and leaves nothing behind", function()
        local _, p = locate(dir .. "/m.pid")
        assert.equal("OK", take(p))
        assert.equal(posix.C.getpid() .. "\n", posix.read_file(dir .. "/m.pid"))
        C.rp_pidfile_release(p)
        assert.is_false(posix.exists(dir .. "/m.pid"))
        assert.equal(-1, p.fd)
    end)

    -- The lock is the process's own: others are needed to see it.
    it("is refused to a second process, which learns the first one's pid", function()
        local _, p = locate(dir .. "/m.pid")
        assert.equal("OK", take(p))
        local child = posix.C.fork()
        if child == 0 then
            local stale = ffi.new("int[1]")
            local _, q = locate(dir .. "/m.pid")
            local found = C.rp_pidfile_find(q, stale)
            local ok = found == posix.C.getppid() and stale[0] == 0 and take(q) == "BUSY"
                and error_text:find("pid " .. found) ~= nil
            posix.C._exit(ok and 0 or 1)
        end
        assert.same({ exit = 0 }, posix.wait(child, 20))
        C.rp_pidfile_release(p)
    end)

    it("takes over what a killed master left, and calls it stale before", function()
        posix.write_file(dir .. "/m.pid", "4194304\n")
        local _, p = locate(dir .. "/m.pid")
        local stale = ffi.new("int[1]")
        assert.equal(0, C.rp_pidfile_find(p, stale))
        assert.equal(4194304, stale[0])
        assert.equal("OK", take(p))
        assert.equal(posix.C.getpid() .. "\n", posix.read_file(dir .. "/m.pid"))
        C.rp_pidfile_release(p)
    end)

    it("does not remove a file that somebody put in its place", function()
        local _, p = locate(dir .. "/m.pid")
        assert.equal("OK", take(p))
        posix.write_file_whole(dir .. "/m.pid", "1\n")
        C.rp_pidfile_release(p)
        assert.equal("1\n", posix.read_file(dir .. "/m.pid"))
    end)

    it("does not follow a link at the pid file's place", function()
        posix.write_file(dir .. "/victim", "precious")
        ffi.C.symlink(dir .. "/victim", dir .. "/m.pid")
        local _, p = locate(dir .. "/m.pid")
        assert.equal("OS", take(p))
        assert.equal("precious", posix.read_file(dir .. "/victim"))
    end)
end)
