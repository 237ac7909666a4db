-- SPDX-License-Identifier: MIT
--
-- Hooks of TLS handshakes in a proxy within this process: what is shown of those that wait, and what is
-- left of them when everything ends.

local support = require("spec.unit.script.support")
local ffi = require("ffi")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local socket = require("socket")
local tls = require("spec.support.tls")

local C, c = support.C, support.c

describe("a client whose handshake waits for a hook", function()
    local dir, site

    -- A site whose hooks are `use` (Lua text).
    local function open(use)
        local port = posix.free_port()
        local pem = posix.read_file(dir .. "/a.pem")
        local conf, err = support.build(support.HEAD .. ([[
            local pem, n = rp.file("a.pem"), 0
            return rp.site { tls = { certs = { "a.pem" } },
                listeners = { rp.listen { "127.0.0.1:%d", tls = true } }, use = { %s },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/*", content = function(req)
                        if req.path == "/n" then return req:exit(200, tostring(n)) end
                        return req:exit(200, tostring(req.conn.ctx.seen))
                    end } } } } }]]):format(port, use), { ["a.pem"] = pem, ["a.key"] = false,
            ["a.pem.ocsp"] = false })
        assert(conf, err)
        site = { conf = conf, mem = C.rp_mem_new(), ends = {}, port = port }
        site.loop = C.rp_loop_new(site.mem)
        site.proxy = C.rp_proxy_new(site.loop, site.mem, conf)
        C.rp_host_attach(conf, site.proxy, nil, 0)
        site.server = assert(socket.bind("127.0.0.1", port, 64))
        local out = ffi.new("struct rp_listener *[1]")
        assert.equal("OK", c.err_name(C.rp_proxy_listen(site.proxy, site.server:getfd(),
            conf.listeners[0], out)))
    end

    local function turn()
        C.rp_loop_turn(site.loop, 0)
    end

    local function client(name)
        local e = tls.connect(site.port, { sni = name, no_handshake = true, turn = turn })
        site.ends[#site.ends + 1] = e
        e:hello()
        return e
    end

    local function dump()
        local buf = ffi.new("struct rp_buf")
        C.rp_buf_init(buf, 65536)
        C.rp_proxy_dump(site.proxy, buf)
        local text = c.lua(C.rp_buf_str(buf))
        C.rp_buf_fini(buf)
        return text or ""
    end

    local function until_true(check)
        local deadline = posix.now() + 20
        while not check() do
            if posix.now() > deadline then error("it did not come", 2) end
            C.rp_loop_turn(site.loop, 1)
        end
    end

    lazy_setup(function()
        dir = tls.dir()
        tls.cert(dir, "a", { names = { "a.test" }, together = true })
    end)
    lazy_teardown(proc.cleanup)

    after_each(function()
        C.rp_proxy_abort_all(site.proxy)
        for _ = 1, 5 do turn() end
        C.rp_proxy_free(ffi.new("struct rp_proxy *[1]", site.proxy))
        C.rp_loop_free(ffi.new("struct rp_loop *[1]", site.loop))
        C.rp_mem_free(ffi.new("struct rp_mem *[1]", site.mem))
        site.server:close()
        for _, e in ipairs(site.ends) do e:close() end
    end)

    it("is shown with what it waits for", function()
        open [[{ tls_hello = function(conn) if conn.sni == "b.test" then rp.sleep(600) end end,
            certificate = function() rp.sleep(600) end }]]
        client("a.test")
        client("b.test")
        until_true(function() return select(2, dump():gsub("handshake", "")) == 2 end)
        local text = dump()
        for name, hook in pairs { ["a.test"] = "certificate", ["b.test"] = "tls_hello" } do
            local line = ('handshake waiting_for="%s" client=127.0.0.1 sni="%s" listener="127.0.0.1:%d"')
                :format(hook, name, site.port)
            assert.truthy(text:find(line, 1, true), text)
        end
    end)

    it("leaves nothing behind, wherever the end meets it", function()
        open [[{ tls_hello = function(conn)
                conn.ctx.seen = conn.ja4
                if conn.sni == "b.test" then rp.spawn(rp.sleep, 600) rp.sleep(600) end
            end, certificate = function(conn)
                if conn.sni == "c.test" then rp.sleep(600) end
                return pem
            end }]]
        client("b.test")
        client("c.test")
        client("c.test")
        local served = client("a.test")
        assert.is_true(served:handshake())
        local status, body = served:get("/")
        assert.equal(200, status)
        assert.truthy(body:find("^t13d"), body)
        until_true(function() return select(2, dump():gsub("handshake", "")) == 3 end)
        assert.equal(1, tonumber(site.proxy.stats.tls_handshakes))
    end)

    it("asks again after a hook that failed and let it pass", function()
        open [[{ on_error = "open", certificate = function()
            n = n + 1
            error("broken")
        end }]]
        for i = 1, 3 do
            local e = client("a.test")
            assert.is_true(e:handshake())
            local _, body = e:get("/n")
            assert.equal(tostring(i), body)
        end
    end)

    it("is let go of by its hook when it leaves", function()
        open [[{ tls_hello = function() rp.sleep(600) end }]]
        local e = client("a.test")
        until_true(function() return dump():find("handshake", 1, true) end)
        e:close()
        until_true(function() return not dump():find("handshake", 1, true) end)
        assert.equal(1, tonumber(site.proxy.stats.tls_closed))
    end)
end)
