-- SPDX-License-Identifier: MIT
--
-- A head that is refused for one of its fields: those before it were forgotten, so behind a balancer
-- the log named the balancer in place of the client, and a client of JSON got a page of HTML.

local posix = require("spec.support.posix")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

describe("a head that is refused for one of its fields", function()
    local rp

    teardown(function() process.stop(rp) end)

    it("still tells who asked, with what, and what he takes", function()
        protocol.only("h1 client", "nghttp2 refuses such fields before we see them")
        protocol.only("no TLS", "the head is not about it")
        rp = process.start { workers = 1, routes = [[
            rp.route { "/", respond = { 200, "fine" } }, ]], more = [[
            trust = { "127.0.0.1" },
            log = { access = { to = "${dir}/access.log", buffer = 0, format = "json",
                fields = { "status", "remote_ip", "user_agent" } } },]] }
        for _, bad in ipairs { "Bad Name: x", "Content-Length: 1\r\nContent-Length: 2" } do
            local w = wire.connect(rp.port)
            w:send("GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 192.0.2.7\r\n"
                .. "Accept: application/json\r\nUser-Agent: it/1\r\n" .. bad .. "\r\n\r\n")
            local answer = w:recv_all()
            assert.match("^HTTP/1.1 400 ", answer)
            assert.match("Content%-Type: application/json", answer)
            w:close()
        end
        local log = posix.poll(function()
            local text = posix.read_file(rp.dir .. "/access.log") or ""
            return select(2, text:gsub("\n", "")) == 2 and text
        end)
        local line = '{"status":400,"remote_ip":"192.0.2.7","user_agent":"it/1"}\n'
        assert.equal(line .. line, log)
    end)
end)
