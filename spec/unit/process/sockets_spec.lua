-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local posix = require("spec.support.posix")
local ffi = c.ffi

local C = c.load { "process/sockets.h", "process/os.h", "base/buf.h" }

describe("process/sockets", function()
    local port, plan, keep, s, error_text

    local function new_plan(...)
        local texts = { ... }
        local p = ffi.new("struct rp_plan")
        local list = ffi.new("struct rp_plan_listener[?]", #texts)
        for i, text in ipairs(texts) do
            list[i - 1].text = c.str(text)
            list[i - 1].udp = text:find("^udp:") ~= nil
            local addr = text:gsub("^udp:", "")
            assert.equal("OK", c.err_name(C.rp_addr_parse(c.str(addr), list[i - 1].addr)))
        end
        p.listeners, p.listeners_n = list, #texts
        keep[#keep + 1] = list
        keep[#keep + 1] = texts
        return p
    end

    local function with_error(f)
        local buf = ffi.new("struct rp_buf")
        C.rp_buf_init(buf, 4096)
        local e = c.err_name(f(buf))
        error_text = c.lua(C.rp_buf_str(buf)) or ""
        C.rp_buf_fini(buf)
        return e
    end

    local function open(into, old, p, workers)
        return with_error(function(buf) return C.rp_sockets_open(into, old, p, workers, buf) end)
    end

    local function ensure(worker)
        return with_error(function(buf) return C.rp_sockets_ensure(s, worker, buf) end)
    end

    local function route(...)
        local able = ffi.new("bool[?]", C.RP_PLAN_WORKERS_MOST)
        for _, worker in ipairs { ... } do able[worker] = true end
        C.rp_sockets_route(s, able)
    end

    -- Make n connections; how many each of these descriptors got.
    local function spread(n, fds)
        local clients = {}
        for i = 1, n do
            clients[i] = posix.C.socket(2, 1, 0)
            assert.equal(0, posix.C.connect(clients[i], posix.inet("127.0.0.1", port), 16))
        end
        local got = {}
        for i, fd in ipairs(fds) do
            got[i] = 0
            while true do
                local conn = posix.C.accept4(fd, nil, nil, 0)
                if conn < 0 then break end
                got[i] = got[i] + 1
                posix.C.close(conn)
            end
        end
        for _, fd in ipairs(clients) do posix.C.close(fd) end
        return got
    end

    local function fd(worker)
        return C.rp_sockets_fd(s, 0, worker)
    end

    before_each(function()
        keep, s = {}, ffi.new("struct rp_sockets")
        port = posix.free_port()
        plan = new_plan("127.0.0.1:" .. port)
    end)
    after_each(function() C.rp_sockets_close(s) end)

    it("gives every worker a socket of its own, and all of them clients", function()
        assert.equal("OK", open(s, nil, plan, 3))
        assert.equal(-1, fd(3))
        local got = spread(90, { fd(0), fd(1), fd(2) })
        assert.equal(90, got[1] + got[2] + got[3])
        assert.is_true(got[1] > 5 and got[2] > 5 and got[3] > 5)
    end)

    it("leads new clients past workers that are not able, and back", function()
        assert.equal("OK", open(s, nil, plan, 3))
        local all = { fd(0), fd(1), fd(2) }
        route(0, 2)
        local got = spread(60, all)
        assert.same({ 0, 60 }, { got[2], got[1] + got[3] })
        assert.is_true(got[1] > 5 and got[3] > 5)
        route(1)
        assert.same({ 0, 60, 0 }, spread(60, all))
        route() -- nobody: they wait where the kernel puts them
        got = spread(30, all)
        assert.equal(30, got[1] + got[2] + got[3])
        route(0, 1, 2)
        got = spread(90, all)
        assert.is_true(got[1] > 5 and got[2] > 5 and got[3] > 5)
    end)

    it("knows the kernel's order when workers leave, go and come", function()
        assert.equal("OK", open(s, nil, plan, 4))
        local leaver = fd(1)
        C.rp_sockets_leave(s, 1)
        assert.equal(-1, fd(1))
        route(0, 2, 3)
        local got = spread(60, { fd(0), leaver, fd(2), fd(3) })
        assert.equal(0, got[2])
        assert.equal(60, got[1] + got[3] + got[4])

        assert.equal("OK", ensure(1)) -- its number is used again while it still leaves
        assert.not_equal(leaver, fd(1))
        route(1)
        assert.same({ 60, 0 }, spread(60, { fd(1), leaver }))

        C.rp_sockets_gone(s, 1) -- closes the leaver's alone
        for worker = 0, 3 do
            route(worker)
            assert.same({ 40 }, spread(40, { fd(worker) }))
        end
    end)

    describe("of datagrams", function()
        local CLIENTS = 60
        local clients, of -- client -> worker

        -- Each client sends two datagrams: which of these workers' sockets gets both?
        local function ask(fds)
            local got = {}
            for i, s1 in ipairs(clients) do
                for _ = 1, 2 do assert(s1:send(tostring(i))) end
            end
            local buf = ffi.new("char[16]")
            for worker, sock in pairs(fds) do
                local n = {}
                while true do
                    local len = tonumber(posix.C.recv(sock, buf, 16, 0x40)) -- MSG_DONTWAIT
                    if len < 0 then break end
                    local i = tonumber(ffi.string(buf, len))
                    n[i] = (n[i] or 0) + 1
                    if n[i] == 2 then got[i] = worker end
                end
            end
            for i = 1, CLIENTS do assert.is_truthy(got[i], "client " .. i .. " is split") end
            return got
        end

        local function moved(from, to)
            local n = 0
            for i = 1, CLIENTS do
                if from[i] ~= to[i] then n = n + 1 end
            end
            return n
        end

        local function run(address, udp_socket, ip)
            clients = {}
            assert.equal("OK", open(s, nil, new_plan(address), 3))
            for i = 1, CLIENTS do
                clients[i] = udp_socket()
                assert(clients[i]:setpeername(ip, port))
            end
            local leaver = fd(1)
            of = ask { [0] = fd(0), fd(1), fd(2) }
            local count = { [0] = 0, 0, 0 }
            for _, worker in pairs(of) do count[worker] = count[worker] + 1 end
            for worker = 0, 2 do assert.is_true(count[worker] >= 3, "worker " .. worker) end

            C.rp_sockets_leave(s, 1)
            route(0, 2)
            local without = ask { [0] = fd(0), [1] = leaver, [2] = fd(2) }
            assert.equal(count[1], moved(of, without)) -- its own clients, and no other

            C.rp_sockets_gone(s, 1) -- the kernel's order is another one now
            route(0, 2)
            assert.equal(0, moved(without, ask { [0] = fd(0), [2] = fd(2) }))

            assert.equal("OK", ensure(1)) -- a successor gets back what the first one had
            route(0, 1, 2)
            assert.equal(0, moved(of, ask { [0] = fd(0), fd(1), fd(2) }))
            for _, s1 in ipairs(clients) do s1:close() end
        end

        it("keeps every client at one worker, whoever else comes and goes", function()
            run("udp:127.0.0.1:" .. port, require("socket").udp4, "127.0.0.1")
        end)

        it("does so over IPv6", function()
            run("udp:[::1]:" .. port, require("socket").udp6, "::1")
        end)

        it("lies beside connections on the same port, and finds other programs", function()
            local both = new_plan("127.0.0.1:" .. port, "udp:127.0.0.1:" .. port)
            assert.equal("OK", open(s, nil, both, 2))
            assert.is_true(posix.is_listening(port))
            local other = ffi.new("struct rp_sockets")
            assert.equal("OS", open(other, nil, new_plan("udp:127.0.0.1:" .. port), 2))
            assert.match("ss %-lunp shows which", error_text)
        end)
    end)

    it("binds for one more worker beside the others", function()
        assert.equal("OK", open(s, nil, plan, 1))
        assert.equal("OK", ensure(0))
        assert.equal("OK", ensure(1))
        route(1)
        assert.same({ 0, 20 }, spread(20, { fd(0), fd(1) }))
    end)

    it("keeps the sockets of a listener that the next generation has as well", function()
        assert.equal("OK", open(s, nil, plan, 2))
        local more = posix.free_port()
        local next_plan = new_plan("127.0.0.1:" .. more, "127.0.0.1:" .. port)
        local next_s = ffi.new("struct rp_sockets")
        assert.equal("OK", open(next_s, s, next_plan, 2))
        assert.is_false(C.rp_sockets_is_known(next_s, 0, s))
        assert.is_true(C.rp_sockets_is_known(next_s, 1, s))
        assert.equal(fd(0), C.rp_sockets_fd(next_s, 1, 0))
        C.rp_sockets_close(s)
        assert.is_true(posix.is_listening(port) and posix.is_listening(more))
        C.rp_sockets_close(next_s)
        assert.is_false(posix.is_listening(port) or posix.is_listening(more))
    end)

    it("opens all listeners or none, and says which could not be", function()
        local taken, fd_taken = posix.free_port(), posix.C.socket(2, 1, 0)
        assert.equal(0, posix.C.bind(fd_taken, posix.inet("127.0.0.1", taken), 16))
        assert.equal(0, posix.C.listen(fd_taken, 1))
        local both = new_plan("127.0.0.1:" .. port, "127.0.0.1:" .. taken)
        assert.equal("OS", open(s, nil, both, 2))
        posix.C.close(fd_taken)
        assert.match("cannot listen on 127.0.0.1:" .. taken .. ": Address already", error_text)
        assert.is_false(posix.is_listening(port))
    end)

    it("does not share a port with another program of the same user", function()
        assert.equal("OK", open(s, nil, plan, 2))
        local other = ffi.new("struct rp_sockets")
        assert.equal("OS", open(other, nil, plan, 2))
        assert.match("already in use", error_text)
    end)

    it("shares one unix socket, and removes its file at the end", function()
        local dir = posix.temp_dir()
        assert.equal("OK", open(s, nil, new_plan("unix:" .. dir .. "/s"), 3))
        assert.equal(fd(0), fd(2))
        assert.is_true(posix.exists(dir .. "/s"))
        C.rp_sockets_leave(s, 0)
        C.rp_sockets_gone(s, 0)
        assert.is_true(fd(0) >= 0)
        C.rp_sockets_close(s)
        assert.is_false(posix.exists(dir .. "/s"))
        posix.remove_dir(dir)
    end)
end)
