-- SPDX-License-Identifier: MIT
--
-- What lets the e2e specs run over other protocols: the translation of HTTP/1.1 text to HTTP/2 and
-- back, and of a site's text.

local h2_codec = require("spec.support.h2_codec")
local posix = require("spec.support.posix")

-- Let both ends hear what the other says until nothing is said any more.
local function talk(a, b)
    repeat
        local from_a, from_b = a:take_out(), b:take_out()
        if from_a ~= "" then b:feed(from_a) end
        if from_b ~= "" then a:feed(from_b) end
    until from_a == "" and from_b == ""
end

describe("h2_codec", function()
    local client, server

    before_each(function()
        client, server = h2_codec.client(), h2_codec.server()
        talk(client, server)
    end)

    local function ask(text)
        client:write(text)
        talk(client, server)
        return server:take_in()
    end

    local function answer(text)
        server:write(text)
        talk(client, server)
        return client:take_in()
    end

    it("carries requests and responses with lengths", function()
        assert.equal("POST /x?a HTTP/1.1\r\nHost: a\r\nX-Up: Yes\r\nContent-Length: 2\r\n\r\nhi",
            ask("POST /x?a HTTP/1.1\r\nHost: a\r\nx-up: Yes\r\nContent-Length: 2\r\n\r\nhi"))
        assert.equal("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
            answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"))
        assert.matches("^GET /second ", ask("GET /second HTTP/1.1\r\nHost: a\r\n\r\n"))
    end)

    it("carries chunks with trailers, in whatever pieces they are written", function()
        local text = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            .. "2\r\nhi\r\n3;x\r\nyou\r\n0\r\nX-T: 1\r\n\r\n"
        local got = ""
        for i = 1, #text do got = got .. ask(text:sub(i, i)) end
        assert.matches("\r\nTransfer%-Encoding: chunked\r\n", got)
        assert.matches("1\r\nh\r\n1\r\ni\r\n.*0\r\nX%-T: 1\r\n\r\n$", got)
    end)

    it("ends a body that ends by close with the stream", function()
        ask("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.matches("chunked\r\n\r\n4\r\nsome\r\n$", answer("HTTP/1.0 200 OK\r\n\r\nsome"))
        server:finish()
        talk(client, server)
        assert.equal("0\r\n\r\n", client:take_in())
    end)

    it("carries a head that takes several frames", function()
        local value = ("v"):rep(40000)
        assert.matches("X%-A: " .. value .. "\r\n",
            ask("GET /x HTTP/1.1\r\nHost: a\r\nX-A: " .. value .. "\r\n\r\n"))
    end)

    it("keeps back what windows do not let through", function()
        client:write("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
            .. ("x"):rep(100000))
        local first = client:take_out()
        assert.is_true(#first < 66000)
        assert.is_true(client:is_blocked())
        server:feed(first)
        talk(client, server)
        assert.is_false(client:is_blocked())
        assert.equal(100000, #server:take_in():match("\r\n\r\n(.*)$"))
    end)

    it("shows a client that breaks off as an end, and the next request as a new beginning", function()
        ask("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        server:feed("\0\0\4\3\0\0\0\0\1\0\0\0\8") -- RST_STREAM, CANCEL
        assert.equal("reset", server.ended)
        server:revive()
        assert.is_nil(server.ended)
        assert.equal("", ask("llo")) -- of the old one, on its way
        assert.matches("^GET /y ", ask("GET /y HTTP/1.1\r\nHost: a\r\n\r\n"))
    end)

    it("refuses to say what HTTP/2 cannot", function()
        for _, text in ipairs { "GET /x HTTP/1.0\r\nHost: a\r\n\r\n", "GET /x HTTP/1.1\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x HTTP/1.1\r\nA b: c\r\n\r\n",
            "GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n",
            "GET /x HTTP/1.1\r\nHost: a\r\nConnection: x-a\r\n\r\n" } do
            assert.error_matches(function() h2_codec.client():write(text) end, "HTTP/2 cannot say")
        end
        assert.error_matches(function() server:write("HTTP/1.1 200 OK\r\n\r\n") end, "nobody asked")
    end)
end)

describe("protocol", function()
    local NAME = "spec.support.protocol"
    local SITE = 'return rp.site { listeners = { rp.listen { "127.0.0.1:80" },\n'
        .. 'rp.listen { "127.0.0.1:81", tls = { certs = {} } } },\n'
        .. 'upstreams = { o = rp.upstream { peers = { "127.0.0.1:1" } } } }'

    local function load(name)
        local before, switch = package.loaded[NAME], os.getenv("RP_PROTOCOL")
        package.loaded[NAME] = nil
        posix.C.setenv("RP_PROTOCOL", name, 1)
        local ok, protocol = pcall(require, NAME)
        package.loaded[NAME] = before
        if switch then posix.C.setenv("RP_PROTOCOL", switch, 1)
        else posix.C.unsetenv("RP_PROTOCOL") end
        if not ok then error(protocol, 0) end
        return protocol
    end

    it("leaves sites alone over HTTP/1.1", function()
        local protocol = load("h1")
        assert.equal(SITE, protocol.site(SITE))
        assert.is_nil(protocol.client(80))
    end)

    it("gives plain listeners a certificate, and keeps the lines", function()
        local protocol = load("tls")
        local text = protocol.site(SITE)
        assert.matches('rp%.listen { tls = { certs = { "[^"]+/site%.pem" } },  "127', text)
        assert.equal(select(2, SITE:gsub("\n", "")), select(2, text:gsub("\n", "")))
        assert.is_truthy(protocol.client(80))
        assert.is_nil(protocol.client(81)) -- speaks for itself
    end)

    it("gives upstreams HTTP/2", function()
        assert.matches('rp%.upstream { http = "2",  peers', load("h2-h2").site(SITE))
        assert.equal(SITE, load("h2").site(SITE))
    end)

    it("knows no other", function()
        assert.error_matches(function() load("h3") end, "no protocol h3")
    end)

    it("lists only files that there are", function()
        for file in pairs(load("h1").OF_ONE_PROTOCOL) do
            assert.is_true(posix.exists(file), file)
        end
    end)
end)
