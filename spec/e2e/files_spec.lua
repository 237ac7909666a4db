-- SPDX-License-Identifier: MIT
--
-- rp.fs and rp.exec in a running proxy: what they do, what they refuse, and what is left when a
-- request ends in the middle.

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local SITE = [[
    use = { (function()
        local function text(...)
            local out = {}
            for i = 1, select("#", ...) do
                local v = select(i, ...)
                out[i] = type(v) == "table" and rp.json.encode(v, { sort = true }) or tostring(v)
            end
            return table.concat(out, " ")
        end
        local function code(_, second) return second end
        local seen = {}
        local paths = {
            ["/write"] = function(d) return rp.fs.write(d .. "a", "one\n") end,
            ["/read"] = function(d, req) return rp.fs.read(d .. (req:arg("f") or "a")) end,
            ["/append"] = function(d) rp.fs.append(d .. "a", "two\n") return rp.fs.read(d .. "a") end,
            ["/swap"] = function(d)
                local ok = rp.fs.write(d .. "b", "new", { atomic = true, mode = 384 })
                return ok, rp.fs.read(d .. "b"), rp.fs.stat(d .. "b").mode
            end,
            ["/max"] = function(d)
                rp.fs.write(d .. "big", ("x"):rep(2000))
                return #rp.fs.read(d .. "big", { max = 2000 }),
                    code(rp.fs.read(d .. "big", { max = 1999 }))
            end,
            ["/stat"] = function(d)
                local s = rp.fs.stat(d .. "a")
                return s.type, s.size, rp.time() - s.modified < 100, rp.fs.stat(d).type
            end,
            ["/folder"] = function(d)
                local out = { rp.fs.mkdir(d .. "x"), rp.fs.mkdir(d .. "y/z", { parents = true }),
                    rp.fs.mkdir(d .. "y/z", { parents = true }) }
                rp.fs.write(d .. "y/file", "")
                for _, e in ipairs(rp.fs.list(d .. "y")) do
                    out[#out + 1] = e.name .. ":" .. e.type
                end
                out[#out + 1] = code(rp.fs.mkdir(d .. "x"))
                out[#out + 1] = code(rp.fs.remove(d .. "y"))
                out[#out + 1] = rp.fs.remove(d .. "x")
                out[#out + 1] = rp.fs.rename(d .. "y/file", d .. "file")
                out[#out + 1] = rp.fs.stat(d .. "file").type
                out[#out + 1] = code(rp.fs.list(d .. "y", { max = 0 }))
                return out
            end,
            ["/errors"] = function(d)
                return code(rp.fs.read(d .. "nothing")), code(rp.fs.read(d)),
                    code(rp.fs.write(d .. "no/such", "x")), code(rp.fs.read("/dev/zero")),
                    code(rp.fs.read(d .. "fifo")), code(rp.fs.write(d .. "fifo", "x")),
                    code(pcall(rp.fs.read, "a\0b"))
            end,
            ["/watch"] = function(d) return rp.fs.watch(d .. "watched", function(info)
                seen[#seen + 1] = info and info.size or "gone" end, { every = 0.02 }) ~= nil end,
            ["/seen"] = function() return seen end,
            ["/echo"] = function()
                return rp.exec { argv = { "cat" }, stdin = ("hello "):rep(3) }
            end,
            ["/big_echo"] = function()
                local r = rp.exec { argv = { "cat" }, stdin = ("x"):rep(900000) }
                return #r.out
            end,
            ["/exit"] = function()
                return rp.exec { argv = { "sh", "-c", "echo oops >&2; exit 3" } }
            end,
            ["/signal"] = function() return rp.exec { argv = { "sh", "-c", "kill -9 $$" } } end,
            ["/words"] = function()
                return rp.exec { argv = { "printf", "%s|", "a b", "$HOME", ";ls", 7 } }.out
            end,
            ["/env"] = function()
                return rp.exec { argv = { "env" }, env = { A = "1", PATH = "/bin:/usr/bin" } }.out,
                    rp.exec { argv = { "sh", "-c", "echo $SECRET" } }.out
            end,
            ["/cwd"] = function(d) return rp.exec { argv = { "pwd" }, cwd = "/" }.out end,
            ["/fds"] = function() return rp.exec { argv = { "ls", "/proc/self/fd" } }.out end,
            ["/none"] = function()
                return code(rp.exec { argv = { "no-such-program" },
                    env = { PATH = "/bin:/usr/bin" } }),
                    code(rp.exec { argv = { "/etc/passwd" } }),
                    code(rp.exec { argv = { "pwd" }, cwd = "/no/such" })
            end,
            ["/much"] = function()
                return code(rp.exec { argv = { "yes" }, max_output = 100000 })
            end,
            ["/late"] = function(d)
                local words = "echo $$ > " .. d .. "pid; sleep 100 & wait"
                return code(rp.exec { argv = { "sh", "-c", words }, timeout = 1 })
            end,
            ["/hang"] = function(d)
                local words = "echo $$ > " .. d .. "pid2; sleep 100 & wait"
                return rp.exec { argv = { "sh", "-c", words } }
            end,
            ["/deaf"] = function()
                return rp.exec { argv = { "true" }, stdin = ("x"):rep(1000000) }
            end,
            ["/leaves"] = function()
                return rp.exec { argv = { "sh", "-c", "sleep 1 & echo done" } }
            end,
            ["/many"] = function()
                local list = {}
                for i = 1, 20 do
                    list[i] = function()
                        return (rp.exec { argv = { "echo", i } }.out:gsub("\n", ""))
                    end
                end
                return table.concat(rp.all(list), ",")
            end,
            ["/misuse"] = function()
                return code(pcall(rp.exec, { argv = {} })),
                    code(pcall(rp.exec, { argv = { "ls" }, env = { ["a=b"] = 1 } })),
                    code(pcall(rp.exec, { argv = { "a\0b" } })),
                    code(pcall(rp.exec, { argw = {} }))
            end,
        }
        return { name = "files", access = function(req)
            return req:exit(200, text(paths[req.path]("${data}/", req)))
        end }
    end)() },
]]

describe("rp.fs", function()
    local rp, data

    setup(function()
        data = proc.temp_dir()
        proc.run { "mkfifo", data .. "/fifo" }
        proc.run { "chmod", "-R", "777", data }
        rp = process.start { workers = 1, more = SITE, vars = { data = data },
            env = { SECRET = "of the worker" } }
    end)
    teardown(function() process.stop(rp) end)
    after_each(wire.close_all)

    local function get(path) return process.body(rp, path) end

    it("reads, writes and appends", function()
        assert.equal("true", get("/write"))
        assert.equal("one\n", get("/read"))
        assert.equal("one\ntwo\n", get("/append"))
        assert.equal("true new 384", get("/swap"))
        assert.equal("new", posix.read_file(data .. "/b"))
        assert.equal("2000 too_big", get("/max"))
        assert.equal("file 8 true folder", get("/stat"))
    end)

    it("leaves nothing behind where it swapped a file", function()
        get("/swap")
        local _, names = proc.run { "ls", data }
        assert.is_nil(names:find("b.", 1, true))
    end)

    it("makes, lists and removes folders", function()
        assert.equal('[true,true,true,"file:file","z:folder","exists","not_empty",true,true,"file",'
            .. '"too_big"]', get("/folder"))
    end)

    it("says what is wrong, and never waits for what is no plain file", function()
        assert.matches("^not_found not_plain not_found not_plain not_plain os .*NUL",
            get("/errors"))
    end)

    it("tells when a file is written, replaced and removed", function()
        get("/watch")
        local function seen(text)
            assert.is_truthy(posix.poll(function() return get("/seen"):find(text, 1, true) end),
                get("/seen"))
        end
        posix.write_file(data .. "/watched", "12345")
        seen("5")
        posix.write_file_whole(data .. "/watched", "123")
        seen("3")
        os.remove(data .. "/watched")
        seen('"gone"')
    end)

    local function pid_in(name)
        return posix.poll(function()
            return tonumber(posix.read_file(data .. "/" .. name) or "")
        end)
    end

    it("runs programs: words as they are, outputs, status", function()
        assert.equal('{"err":"","out":"hello hello hello ","status":0}', get("/echo"))
        assert.equal("900000", get("/big_echo"))
        assert.equal('{"err":"oops\\n","out":"","status":3}', get("/exit"))
        assert.equal('{"err":"","out":"","signal":9}', get("/signal"))
        assert.equal("a b|$HOME|;ls|7|", get("/words"))
        assert.equal("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20", get("/many"))
    end)

    it("gives programs the environment that was said, and no descriptor", function()
        assert.equal("A=1\nPATH=/bin:/usr/bin\n \n", get("/env"))
        assert.equal("/\n", get("/cwd"))
        assert.equal("0\n1\n2\n3\n", get("/fds")) -- 3 is the folder that ls looks into
    end)

    it("says why a program could not be run", function()
        assert.equal("not_found denied not_found", get("/none"))
        assert.matches("takes argv, a list", get("/misuse"))
        assert.matches("env has names.*a NUL in it.*no option \"argw\".*argv",
            get("/misuse"))
    end)

    it("bounds time and output, and kills what the program started, too", function()
        assert.equal("too_big", get("/much"))
        assert.equal("timeout", get("/late"))
        local pid = pid_in("pid")
        assert.is_truthy(posix.poll(function() return not posix.alive(pid) end))
        -- Nobody may be there to bury the dead (Z).
        assert.is_truthy(posix.poll(function()
            local _, out = proc.run { "sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null; true" }
            for state, group in out:gmatch("%) (%a) %d+ (%d+) ") do
                if tonumber(group) == pid and state ~= "Z" then return false end
            end
            return true
        end))
    end)

    it("kills a program whose request has ended", function()
        local conn = wire.connect(rp.port)
        conn:send(http.format { target = "/hang" })
        local pid = pid_in("pid2")
        assert.is_true(posix.alive(pid))
        conn:close()
        assert.is_truthy(posix.poll(function() return not posix.alive(pid) end))
    end)

    it("does not wait for who does not listen, or for who stays behind", function()
        assert.equal('{"err":"","out":"","status":0}', get("/deaf"))
        assert.equal('{"err":"","out":"done\\n","status":0}', get("/leaves"))
    end)

    it("ends with programs still running", function()
        local other = process.start { workers = 1, more = SITE, vars = { data = data } }
        os.remove(data .. "/pid2")
        local conn = wire.connect(other.port)
        conn:send(http.format { target = "/hang" })
        local pid = pid_in("pid2")
        other:stop()
        assert.is_truthy(posix.poll(function() return not posix.alive(pid) end))
    end)
end)
