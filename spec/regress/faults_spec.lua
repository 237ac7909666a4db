-- SPDX-License-Identifier: MIT
--
-- What schedules of failing system calls (spec/faults) found, each in its plainest form.

local e2e = require("spec.support.e2e")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")

local MB = 1024 * 1024

describe("found by failing system calls:", function()
    local up, rp

    setup(function()
        up = e2e.listen()
        local stream = posix.free_port()
        rp = proc.rproxy { vars = { up = up.port, stream = stream }, site = [[
            return rp.site {
                workers = 1, log = { access = false },
                listeners = { rp.listen { "127.0.0.1:${port}" } },
                streams = { rp.stream { "127.0.0.1:${stream}", upstream = "up", timeouts = { idle = 0.3 } } },
                upstreams = { up = rp.upstream { peers = { "127.0.0.1:${up}" }, max_fails = 0 } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/upper", upstream = "up", use = { { body_filter = function(_, _, chunk)
                        return chunk:upper()
                    end } } },
                    rp.route { "/*", upstream = "up" },
                } } },
            }
        ]] }
        rp.stream = stream
    end)

    teardown(function()
        up:close()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    it("body filters see large bodies also when the client speaks HTTP/1.0", function()
        local client = wire.connect(rp.port)
        client:send("GET /upper HTTP/1.0\r\n\r\n")
        local server = up:accept()
        e2e.head(server)
        server:send(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(MB) .. ("x"):rep(MB))
        local got, why = client:recv_all()
        assert.equal("closed", why)
        assert.is_true(got:match("\r\n\r\n(.*)$") == ("X"):rep(MB))
    end)

    it("a stream that its idle time cuts is cut visibly", function()
        local client = wire.connect(rp.stream)
        local server = up:accept()
        server:send("half of")
        assert.equal("half of", client:recv(7))
        assert.same({ "", "reset" }, { client:recv_all() })
        assert.same({ "", "reset" }, { server:recv_all() })
    end)
end)

-- Only a debug build can be made to fail.
if os.getenv("RP_MODE") == "debug" then
    describe("a start that cannot wait for its checker", function()
        after_each(proc.cleanup)

        it("says so", function()
            local dir = proc.temp_dir()
            posix.write_file(dir .. "/site.lua", ([[ return require("rproxy").site {
                listeners = { require("rproxy").listen { "127.0.0.1:%d" } },
                hosts = { require("rproxy").host { default = true, routes = {
                    require("rproxy").route { "/*", respond = { 200, "ok" } } } } } } ]])
                :format(posix.free_port()))
            local bin = os.getenv("RP_BIN") or "build/debug/rproxy"
            local how, _, said = proc.run({ bin, "-p", dir .. "/site.lua" },
                { env = { RP_FAULT = "chance=65536,points=poll" } })
            assert.are_not.equal(0, how.exit)
            assert.matches("cannot wait for the checker", said)
        end)
    end)
end
