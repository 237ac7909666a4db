-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local C, ffi, c, posix, sys = net.C, net.ffi, net.c, net.posix, net.sys

local A, AAAA, SRV = 1, 28, 33

-- ---- a name server of our own ------------------------------------------------------------------

local function u16(n) return string.char(math.floor(n / 256), n % 256) end

local function read_question(packet)
    local at, labels = 13, {}
    while packet:byte(at) ~= 0 do
        local n = packet:byte(at)
        labels[#labels + 1] = packet:sub(at + 1, at + n)
        at = at + n + 1
    end
    local qtype = packet:byte(at + 1) * 256 + packet:byte(at + 2)
    return table.concat(labels, "."), qtype, packet:sub(13, at + 4)
end

-- records: { { type, ttl, bytes }, ... }; rcode: 0, 2 (SERVFAIL), 3 (NXDOMAIN)
local function answer_packet(query, question, rcode, records)
    local counts = u16(1) .. u16(#records) .. u16(0) .. u16(0)
    local out = { query:sub(1, 2), u16(0x8180 + rcode), counts, question }
    for _, r in ipairs(records) do
        local head = "\192\12" .. u16(r[1]) .. u16(1) .. u16(0) .. u16(r[2])
        out[#out + 1] = head .. u16(#r[3]) .. r[3]
    end
    return table.concat(out)
end

describe("rp_dns", function()
    local env, dns, server, asked, handler, got

    -- Answers what came in since the last call.
    -- handler(name, qtype) -> rcode, records; nil: silence
    local function serve()
        local buf, from, n = ffi.new("uint8_t[512]"), ffi.new("uint8_t[16]"), ffi.new("unsigned[1]")
        while true do
            n[0] = 16
            local len = tonumber(sys.recvfrom(server, buf, 512, 64, from, n))
            if len < 0 then return end
            local query = ffi.string(buf, len)
            local name, qtype, question = read_question(query)
            asked[#asked + 1] = name .. ({ [A] = " A", [AAAA] = " AAAA", [SRV] = " SRV" })[qtype]
            local rcode, records = handler(name, qtype)
            if rcode then
                local reply = answer_packet(query, question, rcode, records or {})
                sys.sendto(server, reply, #reply, 0, from, n[0])
            end
        end
    end

    local function open(options)
        local o = ffi.new("struct rp_dns_options", C.rp_dns_defaults)
        local address = "127.0.0.1:" .. net.port_of(server)
        o.servers = address
        for k, v in pairs(options or {}) do
            o[k] = v
        end
        dns = ffi.new("struct rp_dns *[1]", C.rp_dns_new_with(env.loop, o))
        assert(dns[0] ~= nil)
    end

    local function reopen(options)
        C.rp_dns_free(dns)
        open(options)
    end

    before_each(function()
        env = net.open()
        asked, got = {}, {}
        server = env:own(sys.socket(net.AF_INET, net.DGRAM, 0))
        assert(sys.bind(server, posix.inet("127.0.0.1", 0), 16) == 0)
        handler = function(_, qtype)
            if qtype == A then return 0, { { A, 60, "\10\1\2\3" } } end
            return 0, {}
        end
        open()
    end)
    after_each(function()
        C.rp_dns_free(dns)
        assert.is_true(dns[0] == nil)
        env:close()
    end)

    -- Ask; the answer lands in got[name .. n] as "STATUS ip ip".
    local function resolve(name, key, hook)
        local out = ffi.new("struct rp_dns_query *[1]")
        local fn = env:callback("rp_dns_fn", function(_, answer)
            local words = { c.err_name(answer.status) }
            for i = 0, tonumber(answer.addrs_n) - 1 do
                local text = ffi.new("char[128]")
                local n = C.rp_addr_put_ip(answer.addrs + i, text)
                words[#words + 1] = ffi.string(text, n)
                assert(answer.addrs[i].port == 0)
            end
            got[key or name] = table.concat(words, " ")
            if hook then hook() end
        end)
        local e = C.rp_dns_resolve(dns[0], c.str(name), fn, nil, out)
        if e ~= 0 then return nil, c.err_name(e) end
        return out[0]
    end

    local function wait(key, seconds)
        env:until_true(function()
            serve()
            return got[key] ~= nil
        end, seconds, key .. " answered")
        return got[key]
    end

    it("says of a resolver that could not be opened that it resolves nothing", function()
        local query = ffi.new("struct rp_dns_query *[1]")
        assert.equal("UP_RESOLVE", c.err_name(C.rp_dns_resolve(nil, c.str("a.example"), nil, nil, query)))
    end)

    it("asks for both families and gives the addresses", function()
        handler = function(_, qtype)
            if qtype == A then return 0, { { A, 60, "\10\1\2\3" }, { A, 60, "\10\1\2\4" } } end
            return 0, { { AAAA, 60, "\32\1\13\184" .. ("\0"):rep(11) .. "\7" } }
        end
        resolve("api.test.example")
        local words = {}
        for word in wait("api.test.example"):gmatch("%S+") do words[#words + 1] = word end
        assert.equal("OK", table.remove(words, 1))
        table.sort(words)
        assert.same({ "10.1.2.3", "10.1.2.4", "2001:db8::7" }, words)
        assert.equal(2, #asked)
    end)

    it("asks once for many who wait, and not again while the answer is fresh", function()
        for i = 1, 5 do
            resolve(i % 2 == 0 and "API.test.example" or "api.test.example", "q" .. i)
        end
        for i = 1, 5 do assert.equal("OK 10.1.2.3", wait("q" .. i)) end
        assert.equal(2, #asked)
        resolve("api.test.example", "later")
        assert.is_nil(got.later) -- never from inside resolve
        assert.equal("OK 10.1.2.3", wait("later"))
        assert.equal(2, #asked)
    end)

    it("asks again after the TTL, not sooner than the floor", function()
        reopen { ttl_least_ms = 60 }
        handler = function(_, qtype)
            if qtype == A then return 0, { { A, 0, "\10\1\2\3" } } end
            return 0, {}
        end
        resolve("a.test.example", "first")
        wait("first")
        local from = posix.now()
        resolve("a.test.example", "second")
        wait("second")
        if posix.now() - from < 0.05 then assert.equal(2, #asked) end
        env:spin(0.07)
        resolve("a.test.example", "third")
        wait("third")
        assert.equal(4, #asked)
    end)

    it("believes a name that is not there, for a while", function()
        reopen { absent_ms = 60 }
        handler = function() return 3 end
        resolve("no.test.example", "first")
        assert.equal("NOT_FOUND", wait("first"))
        local n = #asked
        resolve("no.test.example", "second")
        assert.equal("NOT_FOUND", wait("second"))
        assert.equal(n, #asked)
        env:spin(0.07)
        resolve("no.test.example", "third")
        assert.equal("NOT_FOUND", wait("third"))
        assert.is_true(#asked > n)
    end)

    it("says UP_RESOLVE when the server fails and TIMEOUT when it is silent", function()
        reopen { timeout_ms = 30, tries = 1 }
        handler = function() return 2 end
        resolve("fails.test.example")
        assert.equal("UP_RESOLVE", wait("fails.test.example"))
        handler = function() return nil end
        resolve("silent.test.example")
        assert.equal("TIMEOUT", wait("silent.test.example", 10))
    end)

    it("serves the last good answer when a refresh fails, and only for a while", function()
        reopen { timeout_ms = 20, tries = 1, ttl_least_ms = 10, stale_ms = 400, retry_ms = 30 }
        local good = handler
        handler = function(_, qtype)
            if qtype == A then return 0, { { A, 0, "\10\1\2\3" } } end
            return 0, {}
        end
        resolve("a.test.example", "first")
        wait("first")
        handler = function() return 2 end
        env:spin(0.02)
        resolve("a.test.example", "stale")
        assert.equal("OK 10.1.2.3", wait("stale"))
        local n = #asked
        assert.is_true(n > 2) -- it did try
        resolve("a.test.example", "again") -- and does not try for each question
        wait("again")
        assert.equal(n, #asked)
        env:spin(0.45)
        resolve("a.test.example", "too late")
        assert.equal("UP_RESOLVE", wait("too late"))
        handler = good
        env:spin(0.04)
        resolve("a.test.example", "back")
        assert.equal("OK 10.1.2.3", wait("back"))
    end)

    it("does not serve a stale answer for a name that is gone", function()
        reopen { ttl_least_ms = 10 }
        handler = function(_, qtype)
            if qtype == A then return 0, { { A, 0, "\10\1\2\3" } } end
            return 0, {}
        end
        resolve("a.test.example", "first")
        wait("first")
        handler = function() return 3 end
        env:spin(0.02)
        resolve("a.test.example", "gone")
        assert.equal("NOT_FOUND", wait("gone"))
    end)

    it("takes an address for its own answer, without asking", function()
        local rows = { { "10.9.8.7", "OK 10.9.8.7" }, { "2001:DB8::1", "OK 2001:db8::1" } }
        for _, row in ipairs(rows) do
            resolve(row[1])
            assert.is_nil(got[row[1]])
            assert.equal(row[2], wait(row[1]))
        end
        assert.same({}, asked)
    end)

    it("knows localhost and the names of the hosts file, without asking", function()
        resolve("localhost")
        local text = wait("localhost")
        assert.is_truthy(text:find("127.0.0.1", 1, true) or text:find("::1", 1, true), text)
        local ip, name
        for line in io.lines("/etc/hosts") do
            local a, n = line:match("^(%d+%.%d+%.%d+%.%d+)%s+(%S+)")
            if n and n ~= "localhost" then ip, name = a, n end
        end
        if name then
            resolve(name)
            assert.is_truthy(wait(name):find(ip, 1, true))
        end
        assert.same({}, asked)
    end)

    it("refuses what cannot be a name", function()
        local names = { "", "a b", "a\0b", "a\n", "\195\164.test", "[::1]", ("a"):rep(254) }
        for _, name in ipairs(names) do
            local q, err = resolve(name)
            assert.is_nil(q)
            assert.equal("INVALID", err)
        end
    end)

    it("tells a name with an empty or endless label as invalid or absent", function()
        reopen { timeout_ms = 20, tries = 1 }
        handler = function() return 3 end
        for _, name in ipairs { "a..b", ("x"):rep(64) .. ".test" } do
            resolve(name)
            local text = wait(name)
            assert.is_true(text == "INVALID" or text == "NOT_FOUND" or text == "UP_RESOLVE", text)
        end
    end)

    describe("cancel", function()
        it("silences one query and leaves the others of its name", function()
            local a = resolve("api.test.example", "a")
            resolve("api.test.example", "b")
            C.rp_dns_cancel(a)
            wait("b")
            env:spin(0.01)
            assert.is_nil(got.a)
        end)

        it("silences one whose answer is there already", function()
            resolve("10.1.1.1", "keep")
            C.rp_dns_cancel((resolve("10.1.1.1", "drop")))
            wait("keep")
            env:spin(0.01)
            assert.is_nil(got.drop)
        end)

        it("works from the callback of another query of the same answer", function()
            local second
            resolve("api.test.example", "first", function() C.rp_dns_cancel(second) end)
            second = resolve("api.test.example", "second")
            resolve("api.test.example", "third")
            wait("third")
            assert.is_nil(got.second)
        end)

        it("of nothing has no effect", function() C.rp_dns_cancel(nil) end)
    end)

    it("may be asked from a callback", function()
        resolve("api.test.example", "first", function()
            resolve("api.test.example", "again")
            resolve("other.test.example", "other")
        end)
        assert.equal("OK 10.1.2.3", wait("again"))
        assert.equal("OK 10.1.2.3", wait("other"))
    end)

    it("forgets the name asked for longest ago when the cache is full", function()
        reopen { names_most = 2 }
        for i = 1, 3 do
            resolve("n" .. i .. ".test.example")
            wait("n" .. i .. ".test.example")
            env:spin(0.005)
        end
        assert.equal(6, #asked)
        resolve("n3.test.example", "kept")
        wait("kept")
        assert.equal(6, #asked)
        resolve("n1.test.example", "forgotten")
        wait("forgotten")
        assert.equal(8, #asked)
    end)

    it("says CAP when every name it can hold is being asked for", function()
        reopen { names_most = 1 }
        handler = function() return nil end
        resolve("a.test.example")
        assert.equal("CAP", select(2, resolve("b.test.example")))
    end)

    -- Descriptors of ours that are connected to the name server.
    local function asking()
        local found, port = {}, net.port_of(server)
        for fd = 3, 1023 do
            local sa, n = ffi.new("uint8_t[16]"), ffi.new("unsigned[1]", 16)
            if sys.getpeername(fd, sa, n) == 0 and sa[0] == net.AF_INET
                and sa[2] * 256 + sa[3] == port then found[#found + 1] = fd end
        end
        return found
    end

    it("reads on after an error that somebody else took", function()
        reopen { timeout_ms = 60000, tries = 1 }
        local value, n = ffi.new("int[1]"), ffi.new("unsigned[1]", 4)
        local near, far = net.socketpair()
        env:own(far)
        local conn, fds, taken = env:adopt(near), {}, 0
        conn.on_event = function()
            conn:recv()
            for _, fd in ipairs(fds) do
                assert(sys.getsockopt(fd, net.SOL_SOCKET, net.SO_ERROR, value, n) == 0)
                if value[0] ~= 0 then taken = taken + 1 end
            end
        end
        resolve("a.test.example")
        local queries, buf, from = {}, ffi.new("uint8_t[512]"), nil
        env:until_true(function()
            local to, to_n = ffi.new("uint8_t[16]"), ffi.new("unsigned[1]", 16)
            local len = tonumber(sys.recvfrom(server, buf, 512, 64, to, to_n))
            if len > 0 then
                queries[#queries + 1] = ffi.string(buf, len)
                from = to
            end
            return #queries == 2
        end, nil, "both questions")
        fds = asking()
        assert.equal(1, #fds)
        local port = net.port_of(server)
        sys.close(server)
        net.write(far, "x") -- told before the error, in the same turn
        net.write(fds[1], "nobody listens")
        env:until_true(function() return taken > 0 end, nil, "the error")
        env.fds[1] = sys.socket(net.AF_INET, net.DGRAM, 0)
        server = env.fds[1]
        assert(sys.bind(server, posix.inet("127.0.0.1", port), 16) == 0)
        for _, query in ipairs(queries) do
            local name, qtype, question = read_question(query)
            assert.equal("a.test.example", name)
            local rcode, records = handler(name, qtype)
            local reply = answer_packet(query, question, rcode, records)
            sys.sendto(server, reply, #reply, 0, from, 16)
        end
        env:until_true(function() return got["a.test.example"] end, nil, "the answer")
        assert.equal("OK 10.1.2.3", got["a.test.example"])
        conn:close()
    end)

    it("can be freed with queries open, in flight and answered", function()
        handler = function() return nil end
        resolve("open.test.example")
        C.rp_loop_turn(env.loop, 1)
        resolve("10.1.1.1")
        C.rp_dns_free(dns)
        env:spin(0.01)
        assert.same({}, got)
        open()
    end)

    it("works with the system's settings", function()
        C.rp_dns_free(dns)
        dns[0] = C.rp_dns_new(env.loop)
        assert.is_true(dns[0] ~= nil)
        resolve("127.0.0.1")
        assert.equal("OK 127.0.0.1", wait("127.0.0.1"))
    end)

    it("refuses servers that are no addresses", function()
        local o = ffi.new("struct rp_dns_options", C.rp_dns_defaults)
        local text = "not an address"
        o.servers = text
        assert.is_true(C.rp_dns_new_with(env.loop, o) == nil)
    end)

    describe("for services", function()
        local function srv(priority, weight, port, ...)
            local name = ""
            for _, label in ipairs { ... } do name = name .. string.char(#label) .. label end
            return { SRV, 60, u16(priority) .. u16(weight) .. u16(port) .. name .. "\0" }
        end

        local function services(name, key)
            local out = ffi.new("struct rp_dns_query *[1]")
            local fn = env:callback("rp_dns_fn", function(_, answer)
                local words = {}
                for i = 0, tonumber(answer.services_n) - 1 do
                    local s = answer.services[i]
                    words[#words + 1] = ("%d/%d/%d/%s"):format(s.priority, s.weight, s.port,
                        ffi.string(s.name, s.name_n))
                end
                table.sort(words)
                got[key or name] = c.err_name(answer.status) .. " " .. table.concat(words, " ")
            end)
            local e = C.rp_dns_resolve_services(dns[0], c.str(name), fn, nil, out)
            return e == 0 or c.err_name(e)
        end

        it("gives what the records say, from the cache next time", function()
            handler = function(_, qtype)
                assert(qtype == SRV)
                return 0, { srv(10, 5, 8080, "a", "example"), srv(20, 0, 80, "b", "example") }
            end
            services("_HTTP._tcp.test.example", "one")
            assert.equal("OK 10/5/8080/a.example 20/0/80/b.example", wait("one"))
            services("_http._tcp.test.example", "two")
            assert.equal(got.one, wait("two"))
            assert.same({ "_http._tcp.test.example SRV" }, asked)
        end)

        it("is apart from addresses of the same name", function()
            handler = function(_, qtype)
                if qtype == SRV then return 0, { srv(1, 1, 1, "a") } end
                return 0, qtype == A and { { A, 60, "\10\1\2\3" } } or {}
            end
            resolve("both.test.example", "addresses")
            services("both.test.example", "services")
            assert.equal("OK 10.1.2.3", wait("addresses"))
            assert.equal("OK 1/1/1/a", wait("services"))
        end)

        it("says that there is none", function()
            handler = function(name)
                if name:find("^dot") then return 0, { srv(0, 0, 0) } end
                return 3
            end
            services("dot.test.example")
            services("gone.test.example")
            assert.equal("NOT_FOUND ", wait("dot.test.example"))
            assert.equal("NOT_FOUND ", wait("gone.test.example"))
            assert.equal("INVALID", services("bad name"))
        end)

        it("does not take garbage", function()
            handler = function() return 0, { { SRV, 60, "\0\1" } } end
            services("odd.test.example")
            assert.truthy(wait("odd.test.example"):find("^UP_RESOLVE"))
        end)
    end)
end)
