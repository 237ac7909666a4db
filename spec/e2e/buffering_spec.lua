-- SPDX-License-Identifier: MIT
--
-- Buffered bodies: whole requests before an upstream is asked, responses read ahead of slow clients;
-- in memory, in a file without a name, and where there is no room for one.

local e2e = require("spec.support.e2e")
local ffi = require("ffi")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

ffi.cdef [[
int mount(const char *source, const char *target, const char *kind, unsigned long flags,
    const char *data);
int umount(const char *target);
int chmod(const char *path, unsigned mode);
]]

local MB = 1024 * 1024

local rp, spill
local mounted -- a small disk

-- A folder that the workers (somebody else, when root started them) may write to.
local function open_folder()
    local dir = proc.temp_dir()
    assert(ffi.C.chmod(dir, 511) == 0)
    return dir
end

-- Routes: /plain as it comes, /up buffers requests, /down responses, /both; /hook reads bodies.
-- opt: more (options of the site), up (of the upstream), buffer (of the buffered routes), dir.
local function start(port, opt)
    opt = opt or {}
    spill = opt.dir or open_folder()
    rp = e2e.proxy {
        vars = { origin = port, spill = spill, buffer = opt.buffer or "memory = '64k'",
            more = opt.more or "", up = opt.up or "", limit = opt.limit or "'1g'" },
        before = [[
            local up = { request = true, ${buffer} }
            local down = { response = true, ${buffer} }
            local both = { request = true, response = true, ${buffer} }
            ]],
        site = [[
            spill = { dir = "${spill}" }, ${more}
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" }, ${up} } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/plain/*", upstream = "o" },
                rp.route { "/up/*", upstream = "o", buffer = up, limits = { body = ${limit} } },
                rp.route { "/down/*", upstream = "o", buffer = down },
                rp.route { "/both/*", upstream = "o", buffer = both, limits = { body = "1g" } },
                rp.route { "/hook/*", upstream = "o", buffer = up, limits = { body = "1g" },
                    use = { { rewrite = function(req)
                        local body, err = req:body { max = 1000 }
                        req.up:set("x-seen", tostring(body and #body or err))
                    end } } },
                rp.route { "/filter/*", upstream = "o", buffer = down, use = { {
                    body_filter = function(req, res, chunk, last)
                        req.ctx.n = (req.ctx.n or 0) + #chunk
                        if last then return chunk .. ("[%d]"):format(req.ctx.n) end
                    end } } },
            } } } ]],
    }
    return rp
end

after_each(function()
    local mine, disk = rp, mounted
    rp, mounted = nil, nil
    wire.close_all()
    if mine and mine:is_running() then mine:stop() end
    if disk then ffi.C.umount(disk) end
    origin.cleanup()
    proc.cleanup()
end)

-- n bytes in which every place can be told from every other.
local function bytes(n)
    local parts = {}
    for i = 1, math.ceil(n / 4096) do
        parts[i] = ("%08d"):format(i) .. ("%c"):format(97 + i % 26):rep(4088)
    end
    return table.concat(parts):sub(1, n)
end

local function request(method, target, body, fields)
    return ("%s %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n"):format(method, target,
        fields or "", #body)
end

local function chunked(body, piece)
    local out = {}
    for i = 1, #body, piece do
        local part = body:sub(i, i + piece - 1)
        out[#out + 1] = ("%x\r\n%s\r\n"):format(#part, part)
    end
    return table.concat(out) .. "0\r\n\r\n"
end

local function put(w, target, body, fields)
    w:send(request("PUT", target, body, fields))
    assert.is_true(w:send(body))
end

-- The next n bytes of a wire; fewer when its end came.
local function read(w, n)
    return (w:recv_most(n))
end

local function worker()
    return process.workers(rp)[1]
end

-- Descriptors of the worker that have lost their name and lie in the folder.
local function spill_files()
    local n = 0
    local pipe = io.popen(("env -u LD_PRELOAD ls -l /proc/%d/fd 2>/dev/null"):format(worker()))
    for line in pipe:lines() do
        if line:find(spill, 1, true) then n = n + 1 end
    end
    pipe:close()
    return n
end

local function wait_spill(n)
    assert(posix.poll(function() return spill_files() == n end, 30),
        ("%d spill files, not %d"):format(spill_files(), n))
end

local function status(name)
    return tonumber(process.must(rp, "status"):match("\n" .. name .. ": (%d+)\n"))
end

local function wait_status(name, check)
    assert(posix.poll(function() return check(status(name)) end, 30),
        name .. " is " .. tostring(status(name)))
end

local function is_zero(n) return n == 0 end

-- Nothing is left of any body: no file with a name or without.
local function nothing_left()
    wait_spill(0)
    wait_status("spill_bytes_active", is_zero)
    local pipe = io.popen(("env -u LD_PRELOAD ls -A %s"):format(spill))
    assert.equal("", pipe:read("*a"))
    pipe:close()
end

local function wait_reason(reason)
    assert(posix.poll(function()
        return rp:stdout():find('"reason":"' .. reason .. '"', 1, true)
    end), "no reason " .. reason .. " in:\n" .. rp:stdout() .. rp:stderr())
end

-- A proxy whose access log says why, before an upstream that the spec plays.
local REASONS = [[log = { access = { format = "json", flush = "10ms",
    fields = { "uri", "status", "reason" } } }, ]]

describe("a buffered request", function()
    it("reaches the upstream whole and with its length, through a file, bytes unchanged", function()
        local o = origin.start { ["*"] = { status = 200, body = "thanks" } }
        start(o.port)
        local body = bytes(50 * MB)
        local before = e2e.rss(rp)
        local w = wire.connect(rp.port, nil, { timeout = 60 })
        put(w, "/up/a", body)
        assert.equal("thanks", http.read(w).body)
        local got = o:wait_requests(1)[1]
        assert.equal(#body, got.body_len)
        assert.equal(origin.sum(body), got.body_sum)
        assert.equal("length", got.framing)
        if not e2e.is_debug then
            assert.is_true(e2e.rss(rp) - before < 16 * 1024, e2e.rss(rp) - before .. " kB more")
        end
        wait_status("spill_files", function(n) return n == 1 end)
        wait_status("spill_bytes", function(n) return n > 49 * MB end)
        nothing_left()
    end)

    it("is not shown to any upstream before its last byte came", function()
        local up = e2e.listen()
        start(up.port)
        local body = bytes(300000)
        local w = wire.connect(rp.port)
        w:send(request("POST", "/up/a", body) .. body:sub(1, 200000))
        wait_spill(1)
        up.sock:settimeout(0.05)
        assert.is_nil(up.sock:accept())
        w:send(body:sub(200001))
        local u = up:accept()
        local head = e2e.head(u)
        assert.matches("\r\nContent%-Length: 300000\r\n", head)
        assert.is_true(read(u, 300000) == body)
        u:send("HTTP/1.1 204 No Content\r\n\r\n")
        assert.equal(204, http.read(w, { method = "POST" }).status)
        nothing_left()
        up:close()
    end)

    it("that came in chunks goes on with a length, and loses its trailers", function()
        local o = origin.start { ["*"] = { status = 200, body = "ok" } }
        start(o.port)
        for i, n in ipairs { 0, 10, 65536, 400000 } do
            local w, body = wire.connect(rp.port), bytes(n)
            local sent = chunked(body, 3000):gsub("0\r\n\r\n$", "0\r\nX-T: 1\r\n\r\n")
            w:send("POST /up/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" .. sent)
            assert.equal("ok", http.read(w).body)
            local got = o:wait_requests(i)[i]
            assert.equal("length", got.framing)
            assert.equal(tostring(n), e2e.field(got, "content-length"))
            assert.equal(origin.sum(body), got.body_sum)
            assert.same({}, got.trailers or {})
        end
        nothing_left()
    end)

    it("without a body stays without", function()
        local o = origin.start { ["*"] = { status = 200, body = "ok" } }
        start(o.port)
        assert.equal("ok", http.get(rp.port, "/up/a").body)
        assert.equal("none", o:wait_requests(1)[1].framing)
        assert.equal(0, status("spill_files"))
    end)

    it("is invited by 100 (Continue) while no upstream is there", function()
        local up = e2e.listen()
        start(up.port)
        local w = wire.connect(rp.port)
        w:send(request("POST", "/up/a", "12345", "Expect: 100-continue\r\n"))
        assert.matches("^HTTP/1.1 100 ", e2e.head(w))
        up.sock:settimeout(0.05)
        assert.is_nil(up.sock:accept())
        w:send("12345")
        local u = up:accept()
        assert.is_nil(e2e.head(u):lower():find("expect"))
        assert.equal("12345", u:recv(5))
        u:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert.equal("ok", http.read(w).body)
        up:close()
    end)

    it("over the limit is answered 413, and one that stalls 408", function()
        local o = origin.start {}
        start(o.port, { limit = 200000, more = REASONS .. "timeouts = { body = '300ms' }," })
        local w = wire.connect(rp.port)
        w:send("POST /up/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            .. chunked(bytes(250000), 10000))
        assert.equal(413, http.read(w).status)
        wait_reason("body_too_big")
        w = wire.connect(rp.port)
        w:send(request("POST", "/up/a", bytes(150000)) .. bytes(100000))
        assert.equal(408, http.read(w).status)
        wait_reason("body_timeout")
        assert.same({}, o:requests())
        nothing_left()
    end)

    it("works together with hooks that read bodies", function()
        local o = origin.start { ["*"] = { status = 200, body = "ok" } }
        start(o.port)
        for i, row in ipairs { { 500, "500" }, { 300000, "too large" } } do
            local w, body = wire.connect(rp.port), bytes(row[1])
            w:send("PUT /hook/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                .. chunked(body, 700))
            assert.equal("ok", http.read(w).body)
            local got = o:wait_requests(i)[i]
            assert.equal(row[2], e2e.field(got, "x-seen"))
            assert.equal("length", got.framing)
            assert.equal(origin.sum(body), got.body_sum)
        end
        nothing_left()
    end)

    it("can be read and replaced where a peer is chosen, too", function()
        local o = origin.start { ["*"] = { status = 200, body = "ok" } }
        start(o.port, { up = ([[balance = function(req, up)
            local body = req:body { max = 1000000 }
            up:set("x-seen", body and tostring(#body) or "too large")
            if body and body:sub(1, 8) == "00000002" then req:set_body("another") end
            up:peer("127.0.0.1", %d)
        end,]]):format(o.port) })
        local body = bytes(300000)
        local rows = { { body, body, "300000" }, { bytes(2000000), bytes(2000000), "too large" },
            { body:sub(4097), "another", tostring(300000 - 4096) }, { "abc", "abc", "3" } }
        for i, row in ipairs(rows) do
            local w = wire.connect(rp.port, nil, { timeout = 30 })
            put(w, "/up/a", row[1])
            assert.equal(200, http.read(w).status, rp:stderr())
            local got = o:wait_requests(i)[i]
            assert.equal(row[3], e2e.field(got, "x-seen"))
            assert.equal(origin.sum(row[2]), got.body_sum)
            assert.equal("length", got.framing)
        end
        nothing_left()
    end)

    -- A connection in the pool, which then dies under the next request.
    local function kept(up, w)
        w:send("GET /plain/a HTTP/1.1\r\nHost: a\r\n\r\n")
        local u = up:accept()
        e2e.head(u)
        u:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert.equal("ok", http.read(w).body)
        return u
    end

    for name, n in pairs { memory = 5000, ["its file"] = 2 * MB } do
        it("is sent once more from " .. name .. " when a kept connection breaks", function()
            local up = e2e.listen()
            start(up.port)
            local w, body = wire.connect(rp.port, nil, { timeout = 30 }), bytes(n)
            local u = kept(up, w)
            put(w, "/up/a", body)
            e2e.head(u)
            u:recv(1000)
            u:reset()
            u = up:accept()
            assert.matches("^PUT /up/a ", e2e.head(u))
            assert.is_true(read(u, n) == body)
            u:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            assert.equal("ok", http.read(w).body)
            wait_status("retries", function(got) return got == 1 end)
            nothing_left()
            up:close()
        end)
    end

    it("is not repeated when its method is not idempotent or an answer began", function()
        local up = e2e.listen()
        start(up.port)
        local rows = { { "POST", "" }, { "PUT", "HTTP/1.1 200 OK\r\n" } }
        if protocol.has_h2_upstream then rows[2] = nil end -- half a head comes as nothing
        for _, row in ipairs(rows) do
            local w = wire.connect(rp.port)
            local u = kept(up, w)
            w:send(request(row[1], "/up/a", "12345") .. "12345")
            e2e.head(u)
            assert.equal("12345", u:recv(5))
            u:send(row[2])
            u:close()
            assert.equal(502, http.read(w).status)
        end
        up:close()
    end)

    it("goes to the next peer when the first does not connect", function()
        local o = origin.start { ["*"] = { status = 200, body = "ok" } }
        local dead = posix.free_port()
        start(o.port, { up = ('balance = function(req, up) if up.attempt == 1 then '
            .. 'up:peer("127.0.0.1", %d) else up:peer("127.0.0.1", %d) end end,'):format(dead,
            o.port) })
        local w, body = wire.connect(rp.port, nil, { timeout = 30 }), bytes(MB)
        put(w, "/up/a", body)
        local res = http.read(w)
        if res.status == 200 then
            assert.equal(origin.sum(body), o:wait_requests(1)[1].body_sum)
        else
            error("status " .. res.status .. rp:stderr())
        end
        nothing_left()
    end)
end)

describe("a buffered response", function()
    local BIG = 30 * MB

    -- A client that reads nothing until it is told to.
    local function slow(target)
        local w = wire.connect(rp.port, nil, { rcvbuf = 131072, timeout = 60 })
        w:send("GET " .. target .. " HTTP/1.1\r\nHost: a\r\n\r\n")
        return w
    end

    -- Send all, however slowly it is taken.
    local function push(u, text)
        u.timeout = 60
        for i = 1, #text, MB do assert.is_true(u:send(text:sub(i, i + MB - 1))) end
    end

    -- Wait until the proxy has taken all that was sent to it: nothing waits in our socket or in its.
    local function wait_read(u)
        local _, mine = u.sock:getsockname()
        local _, other = u.sock:getpeername()
        local function queues(from, to) -- what it has to send, and to read
            return posix.read_file("/proc/net/tcp"):match((":%04X %%x+:%04X %%x+ (%%x+):(%%x+) ")
                :format(from, to))
        end
        local none = "00000000"
        assert(posix.poll(function()
            return queues(mine, other) == none and select(2, queues(other, mine)) == none
        end), "the proxy does not read on")
    end

    it("frees its upstream connection while a slow client still reads", function()
        local up = e2e.listen()
        start(up.port)
        local body = bytes(BIG)
        local before = e2e.rss(rp)
        local w = slow("/down/a")
        local u = up:accept()
        e2e.head(u)
        u:send(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(BIG))
        push(u, body)
        wait_read(u)
        wait_status("spill_bytes", function(n) return n > BIG - 16 * MB end)
        -- The same connection serves another client, who gets the whole answer.
        local other = wire.connect(rp.port)
        other:send("GET /plain/b HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.matches("^GET /plain/b ", e2e.head(u))
        u:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert.equal("ok", http.read(other).body)
        if not e2e.is_debug then
            assert.is_true(e2e.rss(rp) - before < 16 * 1024, e2e.rss(rp) - before .. " kB more")
        end
        wait_spill(1)
        e2e.head(w)
        assert.is_true(read(w, BIG) == body)
        nothing_left()
        up:close()
    end)

    it("takes no file when its client is fast", function()
        local part = bytes(MB)
        local o = origin.start { ["*"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: "
            .. 20 * MB .. "\r\n\r\n" }, { send = part, times = 20 } } }
        start(o.port, { buffer = "memory = '1m'" })
        local w = wire.connect(rp.port, nil, { timeout = 60 })
        w:send("GET /down/a HTTP/1.1\r\nHost: a\r\n\r\n")
        e2e.head(w)
        for _ = 1, 20 do assert.is_true(read(w, MB) == part) end
        nothing_left()
    end)

    it("is the same in every framing", function()
        local body = bytes(2 * MB)
        local o = origin.start {
            ["/down/length"] = { status = 200, body = body },
            ["/down/chunked"] = { status = 200, body = body, chunked = 50000 },
            ["/down/trailers"] = { { send = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                .. chunked(body, 50000):gsub("0\r\n\r\n$", "0\r\nX-T: 1\r\n\r\n") } },
            ["/down/close"] = { { send = "HTTP/1.0 200 OK\r\n\r\n" .. body }, { close = true } },
            ["/down/none"] = { { send = "HTTP/1.1 204 No Content\r\n\r\n" } },
            ["/down/same"] = { { send = "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n" } },
            ["/down/empty"] = { status = 200, body = "" },
            ["/down/head"] = { status = 200, body = body },
        }
        start(o.port)
        for _, target in ipairs { "length", "chunked", "trailers", "close" } do
            local w = wire.connect(rp.port, nil, { rcvbuf = 131072, timeout = 60 })
            w:send("GET /down/" .. target .. " HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n"
                .. "Connection: TE\r\n\r\n")
            local files = status("spill_files")
            wait_status("spill_files", function(n) return n >= files end)
            local res = http.read(w)
            assert.is_true(res.body == body, target)
            if target == "trailers" then assert.same({ { "X-T", "1" } }, res.trailers) end
        end
        local w = wire.connect(rp.port)
        for target, code in pairs { none = 204, same = 304, empty = 200 } do
            assert.equal(code, http.request(w, { target = "/down/" .. target }).status)
        end
        local res = http.request(w, { method = "HEAD", target = "/down/head" })
        assert.equal(tostring(#body), res:header("content-length"))
        nothing_left()
    end)

    it("passes body filters once and in order", function()
        local part = bytes(MB)
        local o = origin.start { ["*"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: "
            .. BIG .. "\r\n\r\n" }, { send = part, times = BIG / MB } } }
        start(o.port)
        local w = wire.connect(rp.port, nil, { rcvbuf = 131072, timeout = 60 })
        w:send("GET /filter/a HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_spill(1)
        local body = http.read(w).body
        assert.is_true(body:sub(1, BIG) == part:rep(BIG / MB))
        assert.equal(("[%d]"):format(BIG), body:sub(BIG + 1))
        nothing_left()
    end)

    it("that breaks off is a broken one for the client, behind all that came", function()
        local body = bytes(8 * MB)
        local up = e2e.listen()
        start(up.port, { more = REASONS })
        for i, head in ipairs { "Content-Length: 9000000", "Transfer-Encoding: chunked" } do
            local w = slow("/down/a")
            local u = up:accept()
            e2e.head(u)
            u:send("HTTP/1.1 200 OK\r\n" .. head .. "\r\n\r\n")
            push(u, i == 1 and body or ("%x\r\n%s\r\n"):format(#body, body))
            u:close()
            wait_spill(1)
            rp:wait_stderr("ended early")
            e2e.head(w)
            local rest = read(w, #body + 100)
            local how = select(2, w:recv_all(30))
            assert.equal(protocol.has_h2 and "reset" or "closed", how)
            assert.is_true(#rest >= #body)
            assert.is_nil(rest:sub(-16):find("0\r\n\r\n", 1, true))
            nothing_left()
        end
        wait_reason("upstream_truncated")
        up:close()
    end)

    it("goes on at its client's pace when buffer.max or limits.spill is reached", function()
        -- More than the kernel's own buffers on the way may grow to (tcp_rmem, tcp_wmem).
        local size = 64 * MB
        local tight = { { buffer = "max = '1m'" }, { more = "limits = { spill = '1m' }," } }
        for _, opt in ipairs(tight) do
            local up = e2e.listen()
            start(up.port, opt)
            local body = bytes(size)
            local w = slow("/down/a")
            local u = up:accept()
            e2e.head(u)
            u:send(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(size))
            local done = 0
            e2e.settled(function() -- as much as the proxy takes
                if done < size then done = done + assert(u:push(body:sub(done + 1, done + MB))) end
                return done
            end)
            assert.is_true(done < size)
            assert.is_true(status("spill_bytes_active") <= MB)
            e2e.head(w)
            local got = {}
            while done < size or u:has_late() do
                done = done + assert(u:push(body:sub(done + 1, done + MB)))
                got[#got + 1] = w:recv_some(0.02)
            end
            local have = #table.concat(got)
            got[#got + 1] = read(w, size - have)
            assert.is_true(table.concat(got) == body)
            nothing_left()
            e2e.stop(rp)
            rp = nil
        end
    end)
end)

describe("a disk", function()
    -- opt.break_it(): from now on no file takes anything
    local function failing(name, break_it, mend, opt)
        it("that " .. name .. " fails requests and no responses", function()
            local body = bytes(4 * MB)
            local up = e2e.listen()
            opt = opt or {}
            start(up.port, { more = REASONS, dir = opt.dir and opt.dir() })
            break_it()
            local w = wire.connect(rp.port, nil, { timeout = 30 })
            w:send(request("PUT", "/up/a", body))
            w:send(body:sub(1, 2 * MB))
            local res = http.read(w)
            assert.equal(503, res.status)
            wait_reason("spill_failed")
            rp:wait_stderr("a body cannot be kept in a file dir=" .. spill:gsub("%p", "%%%0"))
            -- One line for many failures.
            for _ = 1, 3 do
                w = wire.connect(rp.port)
                w:send(request("PUT", "/up/a", body) .. body:sub(1, 2 * MB))
                assert.equal(503, http.read(w).status)
            end
            assert.equal(1, select(2, rp:stderr():gsub("a body cannot be kept", "")))
            wait_status("spill_failures", function(n) return n >= 1 end)
            -- A small one needs no disk, and a response goes on at its client's pace.
            w = wire.connect(rp.port, nil, { rcvbuf = 131072, timeout = 60 })
            w:send("GET /down/a HTTP/1.1\r\nHost: a\r\n\r\n")
            local u = up:accept()
            e2e.head(u)
            u:send(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(#body))
            local done, got = 0, {}
            while done < #body or u:has_late() do
                done = done + assert(u:push(body:sub(done + 1, done + MB)))
                if done < #body or u:has_late() then got[#got + 1] = w:recv_some(0.02) end
            end
            local text = table.concat(got)
            w.buf = text .. w.buf
            e2e.head(w)
            assert.is_true(read(w, #body) == body)
            if mend then mend() end
            put(w, "/up/a", bytes(1000))
            e2e.head(u)
            assert.equal(1000, #u:recv(1000))
            wait_spill(0)
            wait_status("spill_bytes_active", is_zero)
            up:close()
        end)
    end

    failing("loses the folder", function()
        assert(posix.C.rmdir(spill) == 0)
    end, function() assert(posix.C.mkdir(spill, 511) == 0) end)

    local probe = open_folder()
    if ffi.C.mount("none", probe, "tmpfs", 0, "size=256k,mode=777") == 0 then
        ffi.C.umount(probe)
        failing("is full", function() end, nil, { dir = function()
            local here = open_folder()
            assert(ffi.C.mount("none", here, "tmpfs", 0, "size=256k,mode=777") == 0)
            mounted = here
            return here
        end })
    end

    it("quota that sends SIGXFSZ ends no worker", function()
        start(1)
        local text = posix.read_file(("/proc/%d/status"):format(worker()))
        local ignored = text:match("SigIgn:%s*(%x+)")
        assert.equal(1, math.floor(tonumber(ignored:sub(-8), 16) / 2 ^ 24) % 2)
    end)

    it("has no room beyond limits.spill", function()
        local o = origin.start { ["*"] = { status = 200, body = "ok" } }
        start(o.port, { more = REASONS .. "limits = { spill = '1m' }," })
        local first, body = wire.connect(rp.port), bytes(4 * MB)
        first:send(request("PUT", "/up/a", body) .. body:sub(1, 900000))
        wait_spill(1)
        local w = wire.connect(rp.port)
        w:send(request("PUT", "/up/b", body) .. body:sub(1, MB))
        assert.equal(503, http.read(w).status)
        wait_reason("spill_full")
        first:close()
        nothing_left()
        w = wire.connect(rp.port)
        put(w, "/up/c", body:sub(1, 900000))
        assert.equal(900000, o:wait_requests(1)[1].body_len)
    end)

    it("is named wrong: the site is refused", function()
        local dir = open_folder()
        for path, words in pairs { [dir .. "/none"] = "No such file or directory",
            ["/etc/passwd"] = "Not a directory",
            ["/proc/1"] = "Permission denied|not permitted" } do
            posix.write_file(dir .. "/site.lua", ([[local rp = require("rproxy")
                return rp.site { listeners = { rp.listen { "127.0.0.1:1" } },
                    spill = { dir = "%s" },
                    upstreams = { o = rp.upstream { peers = { "127.0.0.1:1" } } },
                    hosts = { rp.host { default = true, routes = {
                        rp.route { "/*", upstream = "o", buffer = { request = true } } } } } }
                ]]):format(path))
            local how, _, err = proc.run { process.BIN, "-t", "-p", dir .. "/site.lua" }
            assert.equal(1, how.exit, path)
            assert.matches("spill.dir: " .. path:gsub("%p", "%%%0"), err)
            local found = false
            for word in words:gmatch("[^|]+") do found = found or err:find(word, 1, true) end
            assert.is_truthy(found, err)
            os.remove(dir .. "/site.lua")
        end
    end)
end)

describe("buffering", function()
    it("gives up its file when the client goes", function()
        local up = e2e.listen()
        start(up.port)
        local body = bytes(4 * MB)
        local w = wire.connect(rp.port)
        w:send(request("PUT", "/up/a", body) .. body:sub(1, 3 * MB))
        wait_spill(1)
        w:reset()
        nothing_left()
        w = wire.connect(rp.port, nil, { rcvbuf = 131072 })
        w:send("GET /down/a HTTP/1.1\r\nHost: a\r\n\r\n")
        local u = up:accept()
        e2e.head(u)
        u:send("HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n")
        u.timeout = 30
        for _ = 1, 5 do assert.is_true(u:send(body)) end
        wait_spill(1)
        w:reset()
        nothing_left()
        assert.is_true(u:is_closed())
        up:close()
    end)

    it("goes on through a reload and ends with the worker", function()
        local up = e2e.listen()
        start(up.port, { more = "timeouts = { drain = '300ms' }," })
        local body = bytes(4 * MB)
        local w = wire.connect(rp.port, nil, { timeout = 30 })
        w:send(request("PUT", "/up/a", body) .. body:sub(1, MB))
        wait_spill(1)
        process.must(rp, "reload")
        w:send(body:sub(MB + 1))
        local u = up:accept()
        e2e.head(u)
        assert.is_true(read(u, #body) == body)
        u:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert.equal("ok", http.read(w).body)
        -- Stopped with one request and one response in files.
        w = wire.connect(rp.port)
        w:send(request("PUT", "/up/a", body) .. body:sub(1, MB))
        local v = wire.connect(rp.port, nil, { rcvbuf = 131072 })
        v:send("GET /down/a HTTP/1.1\r\nHost: a\r\n\r\n")
        e2e.head(u)
        u.timeout = 30
        u:send("HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n")
        for _ = 1, 5 do assert.is_true(u:send(body)) end
        wait_spill(2)
        local dir = spill
        rp:stop()
        rp = nil
        local pipe = io.popen("env -u LD_PRELOAD ls -A " .. dir)
        assert.equal("", pipe:read("*a"))
        pipe:close()
        up:close()
    end)
end)

