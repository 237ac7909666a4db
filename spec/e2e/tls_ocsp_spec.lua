-- SPDX-License-Identifier: MIT
--
-- OCSP answers in handshakes: fetched from a responder that the spec plays with the answers of
-- `openssl ocsp`, or lying beside the certificate.

local e2e = require("spec.support.e2e")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local tls = require("spec.support.tls")
local wire = require("spec.support.wire")

describe("OCSP answers", function()
    local dir, up, rp

    local function read(name) return posix.read_file(dir .. "/" .. name) end

    -- A certificate with its chain and key in one file.
    local function cert(name, opt)
        opt.ca, opt.names = opt.ca or "ca", { name .. ".test" }
        tls.cert(dir, name, opt)
        posix.write_file(dir .. "/" .. name .. ".pem",
            read(name .. ".pem") .. read(opt.ca .. ".pem") .. read(name .. ".key"))
        os.remove(dir .. "/" .. name .. ".key")
    end

    local function aia(port) return { "authorityInfoAccess=OCSP;URI:http://127.0.0.1:" .. port } end

    local function start(settings, opt)
        rp = process.start { workers = opt and opt.workers or 2,
            more = 'log = { error = { level = "debug" } }, tls = { ' .. settings .. ' },',
            listen = 'rp.listen { "127.0.0.1:${tls}", tls = true }',
            ports = {}, vars = { certs = dir, tls = posix.free_port() } }
        rp.tls = rp.vars.tls
    end

    -- The next question at the responder: its wire and the request in it.
    local function question(seconds)
        local w = up:accept(seconds or 40)
        local head = e2e.head(w)
        assert.truthy(head:find("^POST / HTTP/1.1\r\n"), head)
        assert.truthy(head:find("Content-Type: application/ocsp-request\r\n", 1, true))
        return w, w:recv(tonumber(head:match("Content%-Length: (%d+)")))
    end

    local function reply(w, body, head)
        w:send((head or "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\n"
            .. "Content-Length: " .. #body .. "\r\n\r\n") .. body)
        w:close()
    end

    local function answer(opt, ca)
        local w, request = question()
        opt.request = request
        opt.serials = opt.serials or { 16 }
        reply(w, tls.ocsp(dir, ca or "ca", opt))
    end

    -- Wait until each of many handshakes (so: all workers) says it; "none", or a pattern.
    local function wait_status(name, pattern)
        local text
        local all = posix.poll(function()
            for _ = 1, 6 do
                text = tls.status(rp.tls, name)
                if not text:find(pattern) then return false end
            end
            return true
        end, 30)
        assert.truthy(all, text .. rp:stderr())
    end

    lazy_setup(function()
        dir = tls.dir()
        up = e2e.listen()
        tls.ca(dir, "ca")
        tls.ca(dir, "other")
        cert("a", { serial = 16, ext = aia(up.port) })
        cert("none", { serial = 17 })
        cert("must", { serial = 18, ext = { "tlsfeature=status_request",
            "authorityInfoAccess=OCSP;URI:http://127.0.0.1:" .. up.port } })
        tls.cert(dir, "signer", { ca = "ca", serial = 30,
            ext = { "extendedKeyUsage=OCSPSigning", "noCheck=ignored" } })
        tls.cert(dir, "poser", { ca = "ca", serial = 31 })
    end)
    lazy_teardown(function()
        up:close()
        proc.cleanup()
    end)
    after_each(function()
        local mine = rp
        rp = nil
        wire.close_all()
        os.remove(dir .. "/a.pem.ocsp")
        if mine and mine:is_running() then mine:stop() end
        while pcall(function() up:accept(0.01):close() end) do end -- what it asked last
    end)

    describe("from a responder", function()
        it("are fetched once for all workers and handed out to clients that ask", function()
            start('certs = { "${certs}/a.pem" }, ocsp = true')
            answer {}
            wait_status("a.test", "Cert Status: good")
            assert.truthy(posix.poll(function() -- published once a second
                local status = process.must(rp, "status")
                return status:match("ocsp_fetched: 1\n") and status:match("tls_stapled: [1-9]")
            end, 60))
            local c = tls.connect(rp.tls, { sni = "a.test" }) -- one that does not ask
            assert.equal(200, (c:get("/")))
            c:close()
        end)

        it("outlive a reload, and a worker that starts later has them at once", function()
            start('certs = { "${certs}/a.pem" }, ocsp = true')
            answer {}
            wait_status("a.test", "Cert Status: good")
            process.must(rp, "reload")
            for _ = 1, 6 do
                assert.truthy(tls.status(rp.tls, "a.test"):find("Cert Status: good", 1, true))
            end
            local workers = process.workers(rp)
            posix.kill(workers[1], "KILL")
            process.wait_workers(rp, 2, { workers[1] })
            wait_status("a.test", "Cert Status: good")
            assert.is_false(pcall(up.accept, up, 0.1)) -- nobody asked again
        end)

        it("may be signed by whom the issuer named for it, and come in chunks", function()
            start('certs = { "${certs}/a.pem" }, ocsp = true')
            local w, request = question()
            local body = tls.ocsp(dir, "ca", { request = request, serials = { 16 },
                signer = "signer" })
            reply(w, ("%x\r\n%s\r\n0\r\n\r\n"):format(#body, body),
                "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n"
                .. "Transfer-Encoding: chunked\r\n\r\n")
            wait_status("a.test", "Cert Status: good")
        end)

        local WRONG = {
            { "that are none", why = "no OCSP response", body = "garbage" },
            { "signed by one without the right to", why = "not signed by the issuer",
                opt = { serials = { 16 }, signer = "poser" } },
            { "signed by another authority", why = "not signed by the issuer",
                opt = { serials = { 16 }, signer = "other" } },
            { "that are huge", why = "larger than 16 KB", body = ("x"):rep(20000) },
            { "that are empty", why = "answer is empty", body = "" },
            { "that are no 200", why = "the responder answers 503", body = "",
                head = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n" },
            { "that lead elsewhere", why = "the responder answers 302", body = "",
                head = "HTTP/1.1 302 There\r\nLocation: http://127.0.0.1:1/\r\n"
                    .. "Content-Length: 0\r\n\r\n" },
            { "that are no HTTP", why = "malformed", body = "", head = "SSH-2.0-x\r\n\r\n" },
            { "with a head without end", why = "head too large", body = "",
                head = "HTTP/1.1 200 OK\r\nX: " .. ("x"):rep(20000) },
            { "that say only interim things", why = "answers 102", body = "",
                head = ("HTTP/1.1 102 Processing\r\n\r\n"):rep(20) },
            { "about certificates unknown to the responder", why = "does not know it",
                opt = { serials = { 17 } } },
            { "about another certificate", why = "about another certificate",
                opt = { cert = "none", serials = { 17 } } },
        }
        for _, case in ipairs(WRONG) do
            it(case[1] .. " are not taken", function()
                start('certs = { "${certs}/a.pem" }, ocsp = true', { workers = 1 })
                local w, request = question()
                local opt = case.opt
                if opt and not opt.cert then opt.request = request end
                reply(w, case.body or tls.ocsp(dir, "ca", opt), case.head)
                rp:wait_stderr("warn %[%d+%] no OCSP answer [^\n]*" .. case.why)
                assert.equal("none", tls.status(rp.tls, "a.test"))
            end)
        end

        it("are asked for again after a failure", function()
            start('certs = { "${certs}/a.pem" }, ocsp = true')
            reply(question(), "no", "HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n")
            answer {}
            wait_status("a.test", "Cert Status: good")
            assert.truthy(posix.poll(function()
                return process.must(rp, "status"):match("ocsp_failed: 1\n")
            end, 60))
        end)

        it("are asked for again before they end, and older ones do not take their place", function()
            local old = tls.ocsp(dir, "ca", { cert = "a", serials = { 16 }, minutes = 5 })
            posix.sleep(1.1) -- times in answers are whole seconds
            start('certs = { "${certs}/a.pem" }, ocsp = true')
            answer { minutes = 1 }
            wait_status("a.test", "Cert Status: good")
            reply(question(60), old)
            rp:wait_stderr("no OCSP answer [^\n]*older than the one before")
            assert.truthy(tls.status(rp.tls, "a.test"):find("Cert Status: good", 1, true))
        end)

        it("of a revoked certificate raise an alert and nothing is handed out", function()
            start('certs = { "${certs}/a.pem" }, ocsp = true')
            answer { revoked = { 16 } }
            rp:wait_stderr("alert %[%d+%] certificate was revoked[^\n]*a.test")
            wait_status("a.test", "^none$")
        end)

        it("are fetched by another worker when the one that asked has died", function()
            start('certs = { "${certs}/a.pem" }, ocsp = true')
            local w = question()
            local workers = process.workers(rp)
            for _, pid in ipairs(workers) do posix.kill(pid, "KILL") end
            process.wait_workers(rp, 2, workers)
            w:close()
            answer {} -- when the lease is over
            wait_status("a.test", "Cert Status: good")
        end)

        it("that do not come, or are cut off, leave handshakes alone", function()
            start('certs = { "${certs}/must.pem" }, ocsp = true', { workers = 1 })
            local w = question() -- asked, and never answered
            local c = tls.connect(rp.tls, { sni = "must.test" })
            assert.equal(200, (c:get("/")))
            c:close()
            w:close()
            rp:wait_stderr("no OCSP answer, and clients may refuse[^\n]*must.test")
            w = question()
            reply(w, "abc", "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n")
            rp:wait_stderr("failures=2")
            assert.equal("none", tls.status(rp.tls, "must.test"))
        end)

        it("of a responder that is not there are a warning, once", function()
            local port = posix.free_port()
            cert("dead", { serial = 20, ext = aia(port) })
            start('certs = { "${certs}/dead.pem" }, ocsp = true', { workers = 1 })
            rp:wait_stderr("warn %[%d+%] no OCSP answer[^\n]*cannot be connected to")
            rp:wait_stderr("info %[%d+%] no OCSP answer[^\n]*failures=2")
        end)

        it("are not asked for without the option, nor where no responder is named", function()
            start('certs = { "${certs}/a.pem", "${certs}/none.pem" }')
            assert.equal("none", tls.status(rp.tls, "a.test"))
            rp:stop()
            start('certs = { "${certs}/none.pem" }, ocsp = true')
            assert.equal("none", tls.status(rp.tls, "none.test"))
            assert.is_nil(rp:stderr():find("OCSP", 1, true))
            assert.is_false(pcall(up.accept, up, 0.1))
        end)

        it("are wanted by certificates that insist on one: a warning when nobody asks", function()
            start('certs = { "${certs}/must.pem" }')
            rp:wait_stderr("wants an OCSP answer[^\n]*set tls.ocsp = true[^\n]*must.pem")
            local _, times = rp:stderr():gsub("wants an OCSP answer", "")
            assert.equal(1, times)
            -- A reload says it in the error log, wherever that is.
            rp:write_site((posix.read_file(rp.site_path):gsub('level = "debug"',
                'to = "' .. dir .. '/error.log"')))
            process.must(rp, "reload")
            process.must(rp, "reload")
            assert.truthy(read("error.log"):find("wants an OCSP answer", 1, true))
        end)
    end)

    describe("beside a certificate", function()
        local function beside(opt)
            opt.cert, opt.serials = "a", { 16 }
            posix.write_file(dir .. "/a.pem.ocsp", tls.ocsp(dir, "ca", opt))
        end

        it("are handed out without any request", function()
            beside {}
            start('certs = { "${certs}/a.pem" }, watch = false')
            assert.truthy(tls.status(rp.tls, "a.test"):find("Cert Status: good", 1, true))
        end)

        it("may have another name, which the certificate's table tells", function()
            posix.write_file(dir .. "/elsewhere.ocsp", tls.ocsp(dir, "ca", { cert = "a",
                serials = { 16 } }))
            start('certs = { { cert = "${certs}/a.pem", ocsp_file = "${certs}/elsewhere.ocsp" } }')
            assert.truthy(tls.status(rp.tls, "a.test"):find("Cert Status: good", 1, true))
        end)

        it("that are revoked raise an alert and are not handed out", function()
            beside { revoked = { 16 } }
            start('certs = { "${certs}/a.pem" }')
            rp:wait_stderr("alert %[%d+%] certificate was revoked[^\n]*a.pem")
            assert.equal("none", tls.status(rp.tls, "a.test"))
        end)

        it("that are not of the issuer refuse the site, with its place", function()
            beside { signer = "poser" }
            local how, _, err = proc.run { process.BIN, "-t", "-p", (function()
                local path = dir .. "/bad.lua"
                posix.write_file(path, ([[local rp = require("rproxy")
return rp.site { listeners = { rp.listen { "127.0.0.1:%d", tls = true } },
    tls = { certs = { "%s/a.pem" } }, hosts = { rp.host { default = true,
    routes = { rp.route { "/*", respond = { 200 } } } } } }]]):format(posix.free_port(), dir))
                return path
            end)() }
            assert.equal(1, how.exit)
            assert.truthy(err:find("bad.lua:%d+: tls.certs%[1%]: [^\n]*a.pem: its OCSP answer "
                .. "%(%.ocsp%) is not usable: it is not signed by the issuer"), err)
        end)
    end)
end)
