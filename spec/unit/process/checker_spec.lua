-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local posix = require("spec.support.posix")
local ffi = c.ffi

-- The evaluator's Lua finds the ABI among the global symbols, as it does in the program.
local library = ffi.load(os.getenv("RP_TEST_LIB") or "build/librproxy_test.so", true)
local C = c.load { "process/checker.h", "base/buf.h" }
ffi.cdef [[ int symlink(const char *to, const char *path); int mkfifo(const char *p, unsigned m);
    int fcntl(int fd, int cmd, ...); ]]

describe("process/checker", function()
    local dir
    assert(library)

    before_each(function() dir = posix.temp_dir() end)
    after_each(function() posix.remove_dir(dir) end)

    describe("tells files of certificates apart", function()
        local function stamp(name) return C.rp_check_stamp(c.str(dir .. "/" .. name)) end

        it("by what they are: written, replaced, removed, led elsewhere", function()
            local seen = {}
            local function is_new(value)
                for _, before in ipairs(seen) do assert.is_false(before == value) end
                seen[#seen + 1] = value
            end
            assert.equal(0, tonumber(stamp("a.pem")))
            posix.write_file(dir .. "/a.pem", "one")
            is_new(stamp("a.pem"))
            assert.is_true(seen[1] == stamp("a.pem"))
            posix.write_file(dir .. "/a.pem", "longer")
            is_new(stamp("a.pem"))
            posix.write_file(dir .. "/b.pem", "longer")
            assert(os.rename(dir .. "/b.pem", dir .. "/a.pem"))
            is_new(stamp("a.pem"))
            os.remove(dir .. "/a.pem")
            posix.write_file(dir .. "/c.pem", "c")
            ffi.C.symlink("c.pem", dir .. "/a.pem")
            assert.is_true(stamp("c.pem") == stamp("a.pem"))
            is_new(stamp("a.pem"))
        end)

        it("and patterns by the files that fit", function()
            assert.equal(0, tonumber(stamp("*.pem")))
            posix.write_file(dir .. "/a.pem", "one")
            local one = stamp("*.pem")
            posix.write_file(dir .. "/a.pem", "other") -- its own stamp says that
            posix.write_file(dir .. "/a.key", "no")
            assert.is_true(one == stamp("*.pem"))
            posix.write_file(dir .. "/b.pem", "two")
            assert.is_false(one == stamp("*.pem"))
        end)

        it("and knows nothing of other files", function()
            posix.write_file(dir .. "/a.lua", "return 1")
            assert.equal(0, tonumber(stamp("a.lua")))
            assert.equal(0, tonumber(stamp("../" .. dir:match("[^/]+$") .. "/a.pem")))
            for name, is in pairs { ["/x/a.pem"] = true, ["/x/*.crt"] = true, ["/x/a.ocsp"] = true,
                ["/x/a.crl"] = true, ["/x/a.lua"] = false, ["a.pem"] = false } do
                assert.equal(is, C.rp_check_is_cert(c.str(name)), name)
            end
        end)
    end)

    describe("opens for site code", function()
        local function open(path)
            local fd = ffi.new("int[1]")
            local e = C.rp_check_open_source(c.str(path), fd)
            local opened = fd[0] >= 0
            C.rp_os_close(fd)
            return c.err_name(e), opened
        end

        before_each(function()
            posix.write_file(dir .. "/a.lua", "return 1")
            posix.write_file(dir .. "/secret", "x")
            posix.C.mkdir(dir .. "/d.lua", 448)
        end)

        it("regular files ending in .lua", function()
            assert.same({ "OK", true }, { open(dir .. "/a.lua") })
            assert.same({ "NOT_FOUND", false }, { open(dir .. "/b.lua") })
            assert.same({ "NOT_FOUND", false }, { open(dir .. "/a.lua/b.lua") })
        end)

        it("no other names and no crooked paths", function()
            for _, path in ipairs { dir .. "/secret", "a.lua", "", "/", ".lua",
                dir .. "/../" .. dir:match("[^/]+$") .. "/a.lua", dir .. "/./a.lua",
                "/" .. dir .. "/a.lua", dir .. "/a.lua\0.lua", dir .. "/a.lua/",
                "/" .. ("x/"):rep(600) .. "a.lua" } do
                assert.same({ "INVALID", false }, { open(path) }, path)
            end
        end)

        it("no folders, pipes or devices, without waiting for them", function()
            ffi.C.mkfifo(dir .. "/p.lua", 384)
            ffi.C.symlink("/dev/null", dir .. "/n.lua")
            for _, name in ipairs { "d.lua", "p.lua", "n.lua" } do
                assert.same({ "INVALID", false }, { open(dir .. "/" .. name) }, name)
            end
        end)

        it("no link that leads to something else", function()
            ffi.C.symlink(dir .. "/secret", dir .. "/trap.lua")
            ffi.C.symlink(dir .. "/a.lua", dir .. "/fine.lua")
            assert.same({ "INVALID", false }, { open(dir .. "/trap.lua") })
            assert.same({ "OK", true }, { open(dir .. "/fine.lua") })
        end)

        it("error pages, which everybody may read anyway", function()
            for _, name in ipairs { "a.html", "a.htm", "a.json", "a.txt", "a.xml" } do
                posix.write_file(dir .. "/" .. name, "page")
                assert.same({ "OK", true }, { open(dir .. "/" .. name) }, name)
                os.execute("chmod 640 " .. dir .. "/" .. name)
                assert.same({ "INVALID", false }, { open(dir .. "/" .. name) }, name)
            end
            posix.write_file(dir .. "/a.p12", "key")
            assert.same({ "INVALID", false }, { open(dir .. "/a.p12") })
        end)

        it("certificates and keys, which nobody else may read, and no other link to them", function()
            for _, name in ipairs { "c.pem", "c.crt", "c.cer", "c.key" } do
                posix.write_file(dir .. "/" .. name, "key")
                os.execute("chmod 600 " .. dir .. "/" .. name)
                assert.same({ "OK", true }, { open(dir .. "/" .. name) }, name)
            end
            ffi.C.symlink(dir .. "/c.key", dir .. "/stolen.lua")
            ffi.C.symlink(dir .. "/c.key", dir .. "/stolen.html")
            ffi.C.symlink(dir .. "/c.key", dir .. "/live.pem")
            assert.same({ "INVALID", false }, { open(dir .. "/stolen.lua") })
            assert.same({ "INVALID", false }, { open(dir .. "/stolen.html") })
            assert.same({ "OK", true }, { open(dir .. "/live.pem") })
        end)

        it("lists of certificates, in order, and of nothing else", function()
            for _, name in ipairs { "l2.crt", "l1.crt", "l3.lua" } do
                posix.write_file(dir .. "/" .. name, "x")
            end
            local fd = ffi.new("int[1]")
            local function list(path)
                local e = c.err_name(C.rp_check_open_list(c.str(path), fd))
                if e ~= "OK" then return e end
                local text = posix.read_file("/proc/self/fd/" .. fd[0])
                C.rp_os_close(fd)
                return text
            end
            assert.is_true(C.rp_check_is_list(c.str(dir .. "/l*.crt")))
            assert.is_false(C.rp_check_is_list(c.str(dir .. "/l1.crt")))
            assert.equal(dir .. "/l1.crt\n" .. dir .. "/l2.crt\n", list(dir .. "/l*.crt"))
            assert.equal("NOT_FOUND", list(dir .. "/none*.crt"))
            assert.equal("INVALID", list(dir .. "/l*.lua"))
            assert.equal("INVALID", list(dir .. "/../*.crt"))
        end)

        it("no link from a page to a source or to something else", function()
            posix.write_file(dir .. "/real.txt", "page")
            ffi.C.symlink(dir .. "/a.lua", dir .. "/source.html")
            ffi.C.symlink(dir .. "/secret", dir .. "/secret.html")
            ffi.C.symlink(dir .. "/real.txt", dir .. "/source.lua")
            ffi.C.symlink(dir .. "/real.txt", dir .. "/fine.html")
            for _, name in ipairs { "source.html", "secret.html", "source.lua" } do
                assert.same({ "INVALID", false }, { open(dir .. "/" .. name) }, name)
            end
            assert.same({ "OK", true }, { open(dir .. "/fine.html") })
        end)

        it("no page over 64 KB", function()
            posix.write_file(dir .. "/a.html", ("x"):rep(65536))
            assert.same({ "OK", true }, { open(dir .. "/a.html") })
            posix.write_file(dir .. "/a.html", ("x"):rep(65537))
            assert.same({ "TOO_BIG", false }, { open(dir .. "/a.html") })
        end)

        it("nothing over 16 MB", function()
            local f = io.open(dir .. "/big.lua", "wb")
            f:seek("set", 16 * 2 ^ 20)
            f:write("x")
            f:close()
            assert.same({ "TOO_BIG", false }, { open(dir .. "/big.lua") })
        end)
    end)

    describe("checks a site", function()
        local function check(text, limit_ms, files)
            posix.write_file(dir .. "/site.lua", text)
            for name, more in pairs(files or {}) do posix.write_file(dir .. "/" .. name, more) end
            local path = dir .. "/site.lua"
            local order = ffi.new("struct rp_check_order", { site = path, describe = true,
                limit_ms = limit_ms or 0 })
            local out, buf = ffi.new("struct rp_checked *[1]"), ffi.new("struct rp_buf")
            C.rp_buf_init(buf, 1e6)
            local e = C.rp_check_run(order, out, buf)
            local words = c.lua(C.rp_buf_str(buf))
            C.rp_buf_fini(buf)
            return c.err_name(e), out, words, path
        end

        it("and answers with the plan and the sources", function()
            local e, out, words = check([[
                local rp = require("rproxy")
                return rp.site { workers = 3, listeners = { rp.listen { "127.0.0.1:1" } },
                    hosts = { rp.host { default = true, routes = {
                        rp.route { "/", respond = { 200, require("more") } } } } } }
            ]], nil, { ["more.lua"] = "return 'from more'" })
            assert.equal("OK", e, words)
            assert.equal(3, out[0].plan.workers)
            assert.equal("127.0.0.1:1", c.lua(out[0].plan.listeners[0].text))
            assert.match("from more", c.lua(out[0].plan.bundle))
            assert.match("listeners", c.lua(out[0].plan.description))
            C.rp_checked_free(out)
        end)

        it("and says where it is wrong", function()
            local e, _, words, path = check("return 1 +")
            assert.equal("INVALID", e)
            assert.is_truthy(words:find(path .. ":1:", 1, true), words)
        end)

        it("and says when there is no such site", function()
            local order = ffi.new("struct rp_check_order", { site = "/nowhere/site.lua" })
            local out, buf = ffi.new("struct rp_checked *[1]"), ffi.new("struct rp_buf")
            C.rp_buf_init(buf, 1e6)
            assert.equal("INVALID", c.err_name(C.rp_check_run(order, out, buf)))
            assert.match("/nowhere/site.lua: cannot be read: No such file",
                c.lua(C.rp_buf_str(buf)))
            C.rp_buf_fini(buf)
        end)

        it("and ends one that loops, naming what it was at", function()
            local before = posix.now()
            local e, _, words = check("require('more')", 300,
                { ["more.lua"] = "while true do end" })
            assert.equal("INVALID", e)
            assert.match("not done after", words)
            assert.match("more.lua", words)
            assert.is_true(posix.now() - before < 60)
        end)

        it("and survives one that crashes, naming signal and file", function()
            posix.write_file(dir .. "/site.lua", "while true do end")
            local path = dir .. "/site.lua"
            local order = ffi.new("struct rp_check_order", { site = path })
            local k, out = ffi.new("struct rp_check"), ffi.new("struct rp_checked *[1]")
            local buf = ffi.new("struct rp_buf")
            C.rp_buf_init(buf, 1e6)
            assert.equal("OK", c.err_name(C.rp_check_start(order, k)))
            local evaluator = posix.poll(function() return posix.tree(k.pid)[2] end)
            assert.equal("AGAIN", c.err_name(C.rp_check_read(k, out, buf)))
            posix.kill(evaluator, "SEGV")
            posix.poll(function() return C.rp_check_read(k, out, buf) ~= 1 end)
            local words = c.lua(C.rp_buf_str(buf))
            -- The sanitizer of a debug build ends it in its own way.
            local how = os.getenv("RP_MODE") == "debug" and "" or "signal 11"
            assert.match("ended by " .. how, words)
            assert.is_truthy(words:find(path, 1, true), words)
            C.rp_buf_fini(buf)
            assert.is_not_nil(posix.wait(k.pid, 20))
        end)

        it("without leaving a process or a descriptor behind", function()
            local function count()
                local fds = 0
                collectgarbage() -- forgotten files of other code
                for fd = 0, 255 do
                    if ffi.C.fcntl(fd, 1) >= 0 then fds = fds + 1 end -- F_GETFD
                end
                return #posix.tree(posix.C.getpid()), fds
            end
            local e, out = check("return 1 +")
            assert.equal("INVALID", e)
            local pids, fds = count()
            for _ = 1, 5 do check("while true do end", 50) end
            assert.same({ pids, fds }, { count() })
            assert.is_true(out[0] == nil)
        end)
    end)

    it("does not take a result that is no plan", function()
        local fd, out = ffi.new("int[1]"), ffi.new("struct rp_checked *[1]")
        assert.equal("OK", c.err_name(C.rp_os_memfd_seal("x", c.str("hello"), fd)))
        assert.equal("INVALID", c.err_name(C.rp_checked_open(fd[0], out)))
        assert.equal("INVALID", c.err_name(C.rp_checked_open(-1, out)))
        assert.is_true(out[0] == nil)
    end)
end)
