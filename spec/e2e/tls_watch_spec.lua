-- SPDX-License-Identifier: MIT
--
-- Files of certificates that change under a running server.

local posix = require("spec.support.posix")
local process = require("spec.support.process")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")

describe("files of certificates that change", function()
    local dir, rp

    local function path(name) return dir .. "/" .. name end
    local function read(name) return posix.read_file(path(name)) end

    -- As people and programs do it: whole, at once.
    local function put(name, text)
        posix.write_file(path(name .. ".new"), text)
        assert(os.rename(path(name .. ".new"), path(name)))
    end

    local function shell(command)
        assert(os.execute(("cd '%s' && %s"):format(dir, command)) == 0, command)
    end

    -- A certificate and key of a new name: texts of both.
    local function made(cn)
        tls.cert(dir, "made", { ca = "ca", cn = cn, names = { "a.test" } })
        return read("made.pem"), read("made.key")
    end

    local function start(settings, more)
        rp = process.start { workers = 2, ports = {}, more = "tls = { " .. settings .. " }, "
            .. (more or ""), listen = 'rp.listen { "127.0.0.1:${tls}", tls = true }',
            vars = { c = dir, tls = posix.free_port() } }
        rp.tls = rp.vars.tls
    end

    local function served(opt)
        opt = opt or {}
        opt.sni, opt.may_fail = opt.sni or "a.test", nil
        local c = tls.connect(rp.tls, opt)
        local status = c:get("/")
        local peer = c.peer
        c:close()
        assert.equal(200, status)
        return peer
    end

    -- Shake hands again and again, without one that fails, until a new certificate is served.
    local function wait_served(cn)
        local last
        assert.truthy(posix.poll(function()
            last = served()
            return last == cn
        end, 40), last .. rp:stderr())
        rp:wait_stderr("reloaded generation=%d+") -- by all workers
        for _ = 1, 8 do assert.equal(cn, served()) end
    end

    local function count(pattern) return select(2, rp:stderr():gsub(pattern, "")) end

    before_each(function()
        dir = tls.dir()
        tls.ca(dir, "ca")
        local cert, key = made("one")
        put("a.pem", cert)
        put("a.key", key)
    end)
    after_each(function()
        local mine = rp
        rp = nil
        wire.close_all()
        process.stop_if_running(mine)
    end)

    it("are taken, and no handshake fails", function()
        start('certs = { "${c}/a.pem" }')
        assert.equal("one", served())
        local cert, key = made("two")
        put("a.pem", cert)
        put("a.key", key)
        wait_served("two")
        assert.equal(0, count("not reloaded"))
        assert.truthy(rp:stderr():find("files of certificates changed, taking them file=" .. dir,
            1, true))
        cert, key = made("three") -- and again
        put("a.key", key)
        put("a.pem", cert)
        wait_served("three")
    end)

    it("are taken in the midst of a handshake, which ends as it began", function()
        start('certs = { "${c}/a.pem" }')
        local cert, key = made("two")
        local changed = false
        local c = tls.connect(rp.tls, { sni = "a.test", piece = 100, turn = function()
            if changed then return end
            changed = true -- 100 bytes of its hello are there
            put("a.pem", cert)
            put("a.key", key)
            rp:wait_stderr("reloaded generation=2")
        end })
        assert.is_true(changed)
        assert.equal("one", c.peer)
        assert.equal(200, (c:get("/")))
        c:close()
        assert.equal("two", served())
    end)

    it("are taken alone: edits of the site wait for a reload", function()
        start('certs = { "${c}/a.pem" }')
        posix.write_file(rp.site_path, "this is no Lua")
        local cert, key = made("two")
        put("a.pem", cert)
        put("a.key", key)
        wait_served("two")
        assert.equal("one", process.body(rp))
        assert.equal(0, count("not reloaded"))
        assert.equal(1, process.run(rp, "reload").exit)
    end)

    it("and are broken change nothing, and are logged once", function()
        start('certs = { "${c}/a.pem" }')
        local cert, key = made("two")
        put("a.pem", cert)
        rp:wait_stderr("not reloaded: [^\n]*a.pem: the private key does not belong to the "
            .. "certificate")
        assert.equal("one", served())
        put("a.key", key)
        wait_served("two")
        assert.equal(1, count("not reloaded"))
        put("a.pem", cert:sub(1, #cert / 2))
        rp:wait_stderr("not reloaded: [^\n]*a.pem: its certificate is malformed")
        assert.equal("two", served())
        os.remove(path("a.pem"))
        rp:wait_stderr("not reloaded: [^\n]*a.pem: cannot be read: no such file")
        assert.equal("two", served())
        assert.equal(3, count("not reloaded"))
        assert.equal(3, count("site.lua:%d+: tls.certs"))
    end)

    it("are seen behind links that lead elsewhere", function()
        -- As Kubernetes does it: the file is a link through a link to a folder, which is swapped.
        shell("mkdir v1 v2")
        local function fill(folder, cert, key)
            put(folder .. "/tls.crt", cert)
            put(folder .. "/tls.key", key)
        end
        fill("v1", read("a.pem"), read("a.key"))
        fill("v2", made("two"))
        shell("ln -s v1 ..data && ln -s ..data/tls.crt tls.crt && ln -s ..data/tls.key tls.key")
        start('certs = { "${c}/tls.crt" }')
        assert.equal("one", served())
        shell("ln -s v2 ..data_tmp && mv -T ..data_tmp ..data")
        wait_served("two")
        assert.equal(0, count("not reloaded"))
    end)

    it("and new ones in a folder that a pattern names are taken", function()
        tls.cert(dir, "b1", { ca = "ca", cn = "old", names = { "old.test" }, together = true })
        start('certs = { "${c}/a.pem", "${c}/b*.pem" }')
        assert.equal("old", served { sni = "old.test" })
        tls.cert(dir, "b2", { ca = "ca", cn = "new", names = { "new.test" }, together = true })
        assert.truthy(posix.poll(function() return served { sni = "new.test" } == "new" end, 40))
    end)

    it("are left alone with watch = false", function()
        start('watch = false, certs = { "${c}/a.pem" }')
        local found = false
        for _, pid in ipairs(posix.tree(rp.pid)) do
            if posix.read_file("/proc/" .. pid .. "/comm") == "rproxy-watch\n" then found = true end
        end
        assert.is_false(found)
        local cert, key = made("two")
        put("a.pem", cert)
        put("a.key", key)
        process.must(rp, "reload")
        assert.equal("two", served())
        assert.equal(0, count("files of certificates changed"))
    end)

    it("are looked at again after the watcher died", function()
        start('certs = { "${c}/a.pem" }')
        local function watcher()
            for _, pid in ipairs(posix.tree(rp.pid)) do
                local name = posix.read_file("/proc/" .. pid .. "/comm")
                if name == "rproxy-watch\n" then return pid end
            end
        end
        local first = posix.poll(watcher, 20)
        posix.kill(first, "KILL")
        local cert, key = made("two")
        put("a.pem", cert)
        put("a.key", key)
        wait_served("two")
    end)
end)
