-- SPDX-License-Identifier: MIT
local c = require("spec.support.c")
local cjson = require("cjson")
local site = require("spec.support.site")
local ffi = c.ffi
local C = c.load { "proxy/access.h", "proxy/access_line.h", "proxy/upstream.h", "proxy/connpool.h",
    "proxy/proxy.h", "net/loop.h", "base/mem.h", "base/log.h", "base/clock.h" }

ffi.cdef [[
int pipe2(int fds[2], int flags); long read(int fd, void *buf, size_t n); int close(int fd);
int open(const char *path, int flags, ...); int dup(int fd); int dup2(int from, int to);
int fcntl(int fd, int cmd, ...); void (*signal(int sig, void (*f)(int)))(int);
]]
local SIGPIPE, SIG_IGN, F_SETPIPE_SZ, F_GETFD = 13, 1, 1031, 1
local O_NONBLOCK, O_WRONLY, O_APPEND, O_CREAT = 2048, 1, 1024, 64
ffi.C.signal(SIGPIPE, ffi.cast("void (*)(int)", SIG_IGN))

local function ok(err) assert.equal("OK", c.err_name(err)) end

-- ---------------------------------------------------------------- what is needed around a line

local keep -- whatever C points to during one test
local loop, mem, writer
local saved_stderr, log_end

local function str(s)
    local view = c.str(s)
    keep[#keep + 1] = view
    return view
end

-- A frozen site with an access log; log = { format, file, buffer, flush, fields }.
local function conf_of(log)
    local s, index = site.new(), ffi.new("uint32_t[1]")
    ok(C.rp_conf_add_file(s.conf, c.str("/first"), index))
    ok(C.rp_conf_add_file(s.conf, c.str(log.file or "/first"), index))
    ok(C.rp_conf_set_access_log(s.conf, index[0],
        log.fields and C.RP_ACCESS_JSON or C.RP_ACCESS_COMBINED, log.buffer or 0, log.flush or 0))
    for _, field in ipairs(log.fields or {}) do
        ok(C.rp_conf_add_access_field(s.conf, c.str(field), s.e))
    end
    keep[#keep + 1] = s
    return s:freeze().conf
end

local function set_head(head, fields)
    local room = ffi.new("struct rp_field[32]")
    local arena = ffi.gc(ffi.new("struct rp_arena"), C.rp_arena_reset)
    keep[#keep + 1] = room
    keep[#keep + 1] = arena
    C.rp_arena_init(arena, nil, 0, 65536)
    C.rp_msg_init(head, room, 32, 32)
    for _, field in ipairs(fields or {}) do
        ok(C.rp_msg_add(head, arena, 0, str(field[1]), str(field[2])))
    end
end

-- A request as it stands when its line is written.
local function request(conf, facts)
    facts = facts or {}
    local r = ffi.new("struct rp_req")
    keep[#keep + 1] = r
    r.conf = conf
    ok(C.rp_addr_parse_ip(str(facts.ip or "192.0.2.7"), r.client))
    ok(C.rp_addr_parse(str("10.0.0.9:5555"), r.conn_addr))
    local head = r.x.head
    set_head(head, facts.headers)
    set_head(r.res, facts.res_headers)
    if facts.method ~= false then
        head.method_text = str(facts.method or "GET")
        head.target = str(facts.target or "/a?b=1")
        head.version = facts.version or 11
        head.host = str("example.com")
        head.uri.raw_path, head.uri.query = str("/a"), str("b=1")
        head.uri.has_query = true
    end
    r.x.head_sent = facts.sent ~= false
    r.res.status = facts.status or 200
    r.x.body_out_bytes, r.x.body_in_bytes, r.x.wire_out_bytes = 512, 33, 700
    r.x.conn_id, r.x.conn_requests = 77, 3
    r.fail = facts.fail and c.err(facts.fail) or 0
    return r
end

-- The line of one request as it would be written at that time.
local function line_of(r, wall)
    local buf, clock = ffi.new("struct rp_buf"), ffi.new("struct rp_access_clock")
    C.rp_buf_init(buf, 1048576)
    clock.second = -1
    C.rp_access_line(buf, r, wall or 784111777.25, 0, clock)
    local text = c.lua(C.rp_buf_str(buf))
    C.rp_buf_fini(buf)
    return text
end

local function json_of(fields, facts, prepare)
    local r = request(conf_of { fields = fields }, facts)
    if prepare then prepare(r) end
    local text = line_of(r)
    assert.equal("\n", text:sub(-1))
    assert.is_nil(text:sub(1, -2):find("\n"))
    return cjson.decode(text), text
end

local function pipe(flags)
    local fds = ffi.new("int[2]")
    assert(ffi.C.pipe2(fds, flags or O_NONBLOCK) == 0)
    return fds[0], fds[1]
end

local function read_all(fd)
    local buf, out = ffi.new("char[65536]"), {}
    while true do
        local n = tonumber(ffi.C.read(fd, buf, 65536))
        if n <= 0 then return table.concat(out) end
        out[#out + 1] = ffi.string(buf, n)
    end
end

local function set_files(...)
    local fds = { ... }
    C.rp_access_set_files(writer, ffi.new("int[?]", #fds, fds), #fds)
end

-- Lines of the error log (stderr) since the last call.
local function logged()
    local lines = {}
    for line in read_all(log_end):gmatch("[^\n]+") do lines[#lines + 1] = line end
    return lines
end

before_each(function()
    keep = {}
    local put
    log_end, put = pipe()
    saved_stderr = ffi.C.dup(2)
    ffi.C.dup2(put, 2)
    ffi.C.close(put)
    mem = ffi.new("struct rp_mem *[1]", C.rp_mem_new())
    loop = ffi.new("struct rp_loop *[1]", C.rp_loop_new(mem[0]))
    writer = C.rp_access_new(loop[0])
end)

after_each(function()
    local box = ffi.new("struct rp_access *[1]", writer)
    C.rp_access_free(box)
    assert.is_true(box[0] == nil)
    C.rp_loop_free(loop)
    C.rp_mem_free(mem)
    ffi.C.dup2(saved_stderr, 2)
    ffi.C.close(saved_stderr)
    ffi.C.close(log_end)
end)

-- ---------------------------------------------------------------- lines

describe("a combined line", function()
    local conf
    before_each(function() conf = conf_of {} end)

    it("is nginx's", function()
        local r = request(conf, { headers = { { "Referer", "http://x/?q" },
            { "User-Agent", "curl/7.88 (a; b)" } } })
        assert.equal('192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] "GET /a?b=1 HTTP/1.1" 200 512 ' ..
            '"http://x/?q" "curl/7.88 (a; b)"\n', line_of(r))
    end)

    it("has a dash for what is absent", function()
        local r = request(conf, { method = false, status = 400 })
        assert.equal('192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] "-" 400 512 "-" "-"\n', line_of(r))
        assert.truthy(line_of(request(conf, { headers = { { "referer", "" } } })):find('"-" "-"\n',
            1, true))
    end)

    it("escapes bytes that could forge a line, as nginx does", function()
        local r = request(conf, { target = '/"\\\1\127\200', headers = {
            { "User-Agent", ("a"):rep(16) .. "\r\n1.2.3.4 - -" .. ("b"):rep(20) .. "\"\255" } } })
        local line = line_of(r)
        assert.truthy(line:find([[GET /\x22\x5C\x01\x7F\xC8 HTTP/1.1]], 1, true), line)
        assert.truthy(line:find(("a"):rep(16) .. [[\x0D\x0A1.2.3.4 - -]] .. ("b"):rep(20) ..
            [[\x22\xFF"]], 1, true), line)
        assert.equal(#line, line:find("\n", 1, true))
    end)

    it("escapes the same bytes wherever they stand", function()
        for byte = 0, 255 do
            for _, at in ipairs { 0, 15, 16, 37 } do
                local agent = ("x"):rep(at) .. string.char(byte) .. ("y"):rep(20)
                local plain = byte >= 32 and byte < 127 and byte ~= 34 and byte ~= 92
                local expected = plain and agent or
                    ("x"):rep(at) .. ("\\x%02X"):format(byte) .. ("y"):rep(20)
                local line = line_of(request(conf, { headers = { { "user-agent", agent } } }))
                assert.equal('"' .. expected .. '"\n', line:sub(-#expected - 3))
            end
            keep = { keep[1] }
        end
    end)

    it("knows IPv6 clients and every IPv4 one", function()
        for _, ip in ipairs { "0.0.0.0", "255.255.255.255", "1.20.100.9", "2001:db8::1", "::1" } do
            local line = line_of(request(conf, { ip = ip }))
            assert.equal(ip .. " - - [", line:sub(1, #ip + 6))
        end
    end)

    it("has the status a failure stands for when no response was sent", function()
        local function status(facts)
            return line_of(request(conf, facts)):match('" (%d+) 512')
        end
        assert.equal("499", status { sent = false, fail = "CLIENT_GONE" })
        assert.equal("200", status { sent = true, fail = "CLIENT_GONE" })
        assert.equal("000", status { sent = false })
        assert.equal("000", status { sent = false, fail = "CANCELLED" })
    end)

    it("names the protocol", function()
        assert.truthy(line_of(request(conf, { version = 10 })):find("HTTP/1.0", 1, true))
        assert.truthy(line_of(request(conf, { version = 20 })):find("HTTP/2.0", 1, true))
    end)
end)

describe("a JSON line", function()
    it("has the chosen fields in their order", function()
        local _, text = json_of { "status", "method", "time", "host" }
        assert.equal('{"status":200,"method":"GET","time":"1994-11-06T08:49:37.250Z",' ..
            '"host":"example.com"}\n', text)
    end)

    it("knows every field of access.tbl", function()
        local names = {}
        for row in io.lines("runtime/proxy/access.tbl") do
            names[#names + 1] = row:match('^A%([%u_]+, "([%l_]+)"')
        end
        assert.is_true(#names >= 30)
        local full = json_of(names, { headers = { { "User-Agent", "ua" }, { "Referer", "re" } } },
            function(r)
                r.start_ns, r.connect_start_ns, r.connected_ns = 1000000, 3000000, 5999999
                r.sent_ns, r.first_byte_ns, r.end_ns = 6000000, 14000000, 1235000000
                r.tries, r.consumer = 2, str("tenant-1")
                ffi.copy(r.id, "0123456789abcdef0123456789abcdef")
                r.pick.want_addr = r.conn_addr
                r.route = r.conf.no_host
            end)
        assert.same({
            time = "1994-11-06T08:49:37.250Z", id = "0123456789abcdef0123456789abcdef",
            remote_ip = "192.0.2.7", peer_ip = "10.0.0.9", method = "GET", scheme = "http",
            host = "example.com", path = "/a", query = "b=1", uri = "/a?b=1",
            protocol = "HTTP/1.1", status = 200, bytes = 512, bytes_in = 33, wire_bytes = 700,
            duration = 1.234, upstream = "10.0.0.9:5555", upstream_addr = "10.0.0.9:5555",
            upstream_group = cjson.null,
            upstream_time = 1.232, connect_time = 0.002, first_byte_time = 0.011, tries = 2,
            hedges = 0, hedged = false, coalesced = false,
            route = "* (fallback)", reason = "", consumer = "tenant-1", user_agent = "ua",
            referer = "re", cache = cjson.null, conn = 77, conn_requests = 3,
            tls_version = cjson.null, tls_cipher = cjson.null, sni = cjson.null,
        }, full)
    end)

    it("has null for what did not happen", function()
        local line = json_of({ "upstream", "upstream_addr", "upstream_time", "connect_time",
            "first_byte_time", "route", "consumer", "user_agent", "method", "protocol", "duration",
            "query", "host", "request.x-a", "response.x-a", "ctx.a" }, { method = false })
        for name, value in pairs(line) do assert.equal(cjson.null, value, name) end
        assert.equal("", json_of({ "reason" }).reason)
    end)

    it("counts a kept connection's time from the sending", function()
        local line = json_of({ "connect_time", "first_byte_time", "upstream_time" }, {}, function(r)
            r.up_reused = true
            r.connect_start_ns, r.connected_ns = 1000000, 2000000 -- of an earlier attempt
            r.sent_ns, r.first_byte_ns, r.end_ns = 10000000, 15000000, 20000000
        end)
        assert.same({ connect_time = cjson.null, first_byte_time = 0.005, upstream_time = 0.010 },
            line)
    end)

    it("names the peer as it is configured", function()
        local line = json_of({ "upstream" }, nil, function(r)
            local peer = ffi.new("struct rp_peer")
            local conf = ffi.new("struct rp_conf_peer")
            keep[#keep + 1], keep[#keep + 2] = peer, conf
            conf.name = str("api-1.internal:80")
            peer.conf = conf
            r.pick.peer = peer
        end)
        assert.equal("api-1.internal:80", line.upstream)
    end)

    it("gives the reason of a failure by its word", function()
        local line = json_of({ "reason", "status" }, { fail = "UP_CONNECT", sent = false })
        assert.same({ reason = "upstream_connect", status = 502 }, line)
    end)

    it("has headers of request and response, known ones and others", function()
        local line = json_of({ "request.x-a", "request.accept", "response.X-B", "response.etag" }, {
            headers = { { "X-A", "1" }, { "x-a", "2" }, { "Accept", "*/*" } },
            res_headers = { { "x-b", "\"q\"" }, { "ETag", "" } } })
        assert.same({ ["request.x-a"] = "1", ["request.accept"] = "*/*", ["response.X-B"] = '"q"',
            ["response.etag"] = "" }, line)
    end)

    it("has null for ctx fields when there are no hooks to ask, or they know no texts", function()
        local hooks = ffi.new("struct rp_hooks")
        assert.equal(cjson.null, json_of({ "ctx.tenant" })["ctx.tenant"])
        local line = json_of({ "ctx.tenant" }, nil, function(r) r.conf.hooks = hooks end)
        assert.equal(cjson.null, line["ctx.tenant"])
    end)

    it("is valid JSON in one line whatever the bytes", function()
        math.randomseed(3)
        for _ = 1, 300 do
            local bytes = {}
            for i = 1, math.random(0, 60) do
                bytes[i] = string.char(math.random(4) == 1 and math.random(0, 255) or
                    math.random(32, 126))
            end
            local agent = table.concat(bytes)
            local line = json_of({ "user_agent" }, { headers = { { "user-agent", agent } } })
            if not agent:find("[\128-\255]") then assert.equal(agent, line.user_agent) end
            keep = {}
        end
    end)
end)

-- ---------------------------------------------------------------- writing

describe("the writer", function()
    it("writes at once with no buffer", function()
        local get, put = pipe()
        set_files(-1, put)
        local r = request(conf_of { file = "/second" })
        C.rp_access_write(writer, r)
        assert.truthy(read_all(get):find("^192.0.2.7 .*\n$"))
        ffi.C.close(get)
    end)

    it("keeps lines until the buffer is full, then writes whole lines", function()
        local get, put = pipe()
        set_files(put)
        local r = request(conf_of { buffer = 250, flush = 60000 })
        local length = #line_of(r)
        local n = math.ceil(250 / length)
        for _ = 1, n - 1 do C.rp_access_write(writer, r) end
        assert.equal("", read_all(get))
        C.rp_access_write(writer, r)
        assert.equal(n * length, #read_all(get))
        ffi.C.close(get)
    end)

    it("writes what waits when its time has come", function()
        local get, put = pipe()
        set_files(put)
        C.rp_access_write(writer, request(conf_of { buffer = 65536, flush = 20 }))
        assert.equal("", read_all(get))
        local text = ""
        for _ = 1, 200 do
            C.rp_loop_turn(loop[0], 10)
            text = read_all(get)
            if text ~= "" then break end
        end
        assert.truthy(text:find("\n", 1, true))
        ffi.C.close(get)
    end)

    it("writes what waits when asked, when files change and when it ends", function()
        local conf = conf_of { buffer = 65536, flush = 60000 }
        for _, how in ipairs { "flush", "set_files", "free" } do
            local get, put = pipe()
            set_files(put)
            C.rp_access_write(writer, request(conf))
            assert.equal("", read_all(get))
            if how == "flush" then C.rp_access_flush(writer) end
            if how == "set_files" then
                set_files(-1)
                assert.equal(-1, ffi.C.fcntl(put, F_GETFD)) -- it was ours to close
            end
            if how == "free" then
                local box = ffi.new("struct rp_access *[1]", writer)
                C.rp_access_free(box)
                writer = C.rp_access_new(loop[0])
            end
            assert.equal(1, select(2, read_all(get):gsub("\n", "")), how)
            ffi.C.close(get)
        end
    end)

    it("writes nothing for a site whose log is off", function()
        local get, put = pipe()
        set_files(put)
        local s = site.new():freeze()
        C.rp_access_write(writer, request(s.conf))
        C.rp_access_flush(writer)
        assert.equal("", read_all(get))
        ffi.C.close(get)
    end)

    it("writes decisions to their own file, also where no access log is", function()
        local get, put = pipe()
        local t, index = site.new(), ffi.new("uint32_t[1]")
        ok(C.rp_conf_add_file(t.conf, c.str("/decisions"), index))
        set_files(put)
        local function write() C.rp_access_write_decision(writer, t.conf, t.conf, str('{"a":1}\n')) end
        write()
        C.rp_access_flush(writer)
        assert.equal("", read_all(get)) -- there is no such log
        t:number("log.decisions_file", index[0])
        write()
        write()
        assert.equal("", read_all(get)) -- they are gathered
        C.rp_access_flush(writer)
        assert.equal('{"a":1}\n{"a":1}\n', read_all(get))
        ffi.C.close(get)
    end)

    it("finds the file of an older generation by its name", function()
        local get, put = pipe()
        local old = conf_of { file = "/second" }
        local s, index = site.new(), ffi.new("uint32_t[1]")
        for _, name in ipairs { "/other", "/more", "/second" } do
            ok(C.rp_conf_add_file(s.conf, c.str(name), index))
        end
        local proxy = ffi.new("struct rp_proxy")
        proxy.conf = s:freeze().conf
        set_files(-1, -1, put)
        local r = request(old)
        r.proxy = proxy
        C.rp_access_write(writer, r)
        assert.truthy(read_all(get):find("\n", 1, true))
        proxy.conf = site.new():freeze().conf -- a generation without that file
        C.rp_access_write(writer, r)
        assert.equal("", read_all(get))
        ffi.C.close(get)
    end)

    it("knows stdout and stderr by name when they have no descriptor", function()
        local get, put = pipe()
        io.stdout:flush()
        local saved = ffi.C.dup(1)
        assert(saved > 2)
        ffi.C.dup2(put, 1)
        set_files(-1, -1)
        C.rp_access_write(writer, request(conf_of { file = "stdout" }))
        ffi.C.dup2(saved, 1)
        ffi.C.close(saved)
        ffi.C.close(put)
        assert.truthy(read_all(get):find("\n", 1, true))
        ffi.C.close(get)
    end)

    it("appends to files that others append to as well", function()
        local path = os.tmpname()
        local function open() return ffi.C.open(path, O_WRONLY + O_APPEND + O_CREAT,
            ffi.cast("int", 384)) end
        set_files(open())
        local other = io.open(path, "a")
        local r = request(conf_of {})
        C.rp_access_write(writer, r)
        other:write("theirs\n")
        other:close()
        C.rp_access_write(writer, r)
        local file = io.open(path)
        local text = file:read("*a")
        file:close()
        os.remove(path)
        assert.equal(line_of(r, tonumber(C.rp_loop_wall(loop[0]))):sub(1, 17), text:sub(1, 17))
        assert.equal(3, select(2, text:gsub("\n", "")))
        assert.truthy(text:find("\ntheirs\n", 1, true))
    end)
end)

describe("a file that takes no more", function()
    it("costs the lines, once reported, and nothing else", function()
        set_files(ffi.C.open("/dev/full", O_WRONLY))
        local r = request(conf_of {})
        for _ = 1, 50 do C.rp_access_write(writer, r) end
        local lines = logged()
        assert.equal(1, #lines)
        assert.truthy(lines[1]:find("lines dropped lines=1 fd=%d+ errno=28"), lines[1])
    end)

    it("because its reader went away costs no signal", function()
        local get, put = pipe()
        ffi.C.close(get)
        set_files(put)
        C.rp_access_write(writer, request(conf_of {}))
        assert.truthy(logged()[1]:find("errno=32", 1, true))
    end)

    it("because it was never opened is reported too", function()
        set_files(-1)
        C.rp_access_write(writer, request(conf_of {}))
        assert.truthy(logged()[1]:find("errno=0", 1, true))
    end)

    it("has whole lines before and after", function()
        local get, put = pipe()
        ffi.C.fcntl(put, F_SETPIPE_SZ, ffi.cast("int", 4096))
        set_files(put)
        local r = request(conf_of { buffer = 6000, flush = 60000 },
            { headers = { { "user-agent", ("u"):rep(137) } } })
        local length, written = #line_of(r), 200
        for _ = 1, written do C.rp_access_write(writer, r) end
        C.rp_access_flush(writer)
        local text = read_all(get)
        assert.is_true(#text < written * length)
        assert.truthy(text:sub(-1) ~= "\n") -- more than PIPE_BUF: the pipe cut a line
        for _ = 1, 5 do C.rp_access_write(writer, r) end
        C.rp_access_flush(writer)
        text = text .. read_all(get)
        local n = 0
        for line in text:gmatch("([^\n]*)\n") do
            n = n + 1
            assert.equal(length, #line + 1)
        end
        assert.equal(#text, n * length)
        assert.truthy(logged()[1]:find("errno=11", 1, true))
        ffi.C.close(get)
    end)
end)
