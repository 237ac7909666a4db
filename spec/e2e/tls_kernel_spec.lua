-- SPDX-License-Identifier: MIT
--
-- ktls = "auto": the same to clients whether the kernel can or not. Where it can is tried by
-- `make interop-ktls`, in a virtual machine.

local e2e = require("spec.support.e2e")
local tls = require("spec.support.tls")

describe("TLS that the kernel may seal", function()
    local dir, o, rp
    local big = ("0123456789abcdef"):rep(100000)

    lazy_setup(function()
        dir = tls.dir()
        tls.cert(dir, "a", { names = { "a.test" } })
        rp, o = e2e.pair({ ["/big"] = { status = 200, body = big } }, { vars = { certs = dir },
            site = [[
            tls = { certs = { "${certs}/a.pem" }, ktls = "auto" },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/hello", respond = { 200, "hello" } },
                rp.route { "/*", upstream = "o" } } } },]] })
    end)
    lazy_teardown(function() e2e.stop(rp) end)

    it("serves short and long bodies on kept connections", function()
        for _, version in ipairs { "1.2", "1.3" } do
            local c = tls.connect(rp.port, { sni = "a.test", versions = version })
            for _ = 1, 3 do
                local status, body = c:get("/hello")
                assert.same({ 200, "hello" }, { status, body })
                status, body = c:get("/big")
                assert.equal(200, status)
                assert.is_true(body == big)
            end
            c:close()
        end
        assert.equal(6, #o:requests())
    end)

    it("ends with close_notify", function()
        local c = tls.connect(rp.port, { sni = "a.test" })
        c:send("GET /big HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        local text, how = c:recv_all()
        assert.is_true(text:sub(-#big) == big)
        assert.equal("closed", how)
        c:close()
    end)

    it("gives tickets", function()
        local c = tls.connect(rp.port, { sni = "a.test" })
        c:get("/hello")
        local s = assert(c:session())
        c:close()
        c = tls.connect(rp.port, { sni = "a.test", session = s })
        assert.is_true(c.resumed)
        assert.equal(200, (c:get("/hello")))
        c:close()
    end)
end)
