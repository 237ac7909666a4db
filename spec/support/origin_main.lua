-- SPDX-License-Identifier: MIT
--
-- origin_main: the process behind origin.lua: one epoll loop, scripted answers, full records.
--
--   luajit spec/support/origin_main.lua SCRIPT      (a Lua file that returns the script's table)
--
-- It speaks HTTP/1.1 with whom sends a request line and HTTP/2 with whom sends its preface; then what
-- is said here about bytes holds for the text that h2_codec makes of the frames.

local ffi = require("ffi")
local bit = require("bit")
local literal = require("spec.support.literal")
local posix = require("spec.support.posix")
local protocol = require("spec.support.protocol")

ffi.cdef [[
typedef struct { uint32_t events; uint64_t data; } __attribute__((packed)) rpspec_epoll_x64;
typedef struct { uint32_t events; uint64_t data; } rpspec_epoll_any;
int epoll_create1(int flags); int epoll_ctl(int ep, int op, int fd, void *event);
int epoll_wait(int ep, void *events, int max, int timeout_ms);
]]

local C = posix.C
local EVENT = ffi.arch == "x64" and "rpspec_epoll_x64" or "rpspec_epoll_any"
local EPOLLIN, EPOLLOUT = 1, 4
local ADD, DEL, MOD = 1, 2, 3
local SOCK_NONBLOCK, MSG_NOSIGNAL = 2048, 0x4000
local SOL_SOCKET, SO_REUSEADDR, SO_LINGER, SO_RCVBUF = 1, 2, 13, 8
local RECORD_MAX = 1024 * 1024 -- of a body, and of a connection's raw bytes
local BLOCK = 64 * 1024
local TURNS = 64 -- of one connection, before the others'
local REASONS = { [100] = "Continue", [200] = "OK", [201] = "Created", [204] = "No Content",
    [302] = "Found", [304] = "Not Modified", [404] = "Not Found", [500] = "Internal Server Error",
    [503] = "Service Unavailable" }

local script = assert(loadfile(arg[1]))()
local ep = C.epoll_create1(0)
local conns = {} -- fd -> connection
local conns_n, requests_n = 0, 0
local turns = {} -- route -> how often it was used

-- ---------------------------------------------------------------- records

local function record(kind, n, value)
    posix.write_file_whole(("%s/%s-%06d.lua"):format(script.dir, kind, n), literal.chunk(value))
end

local function record_conn(conn)
    record("conn", conn.id, { id = conn.id, requests = conn.requests_n, closed = conn.closed })
end

local function record_request(conn, req, complete)
    req.complete = complete
    req.body = table.concat(req.pieces)
    req.pieces = nil
    req.body_sum = req.sum_b * 65536 + req.sum_a
    req.sum_a, req.sum_b, req.left, req.state = nil, nil, nil, nil
    requests_n = requests_n + 1
    record("req", requests_n, req)
    record_conn(conn)
end

local function record_raw(conn, bytes)
    if conn.raw_n >= RECORD_MAX then return end
    conn.raw_n = conn.raw_n + #bytes
    local f = assert(io.open(("%s/raw-%06d"):format(script.dir, conn.id), "ab"))
    f:write(bytes)
    f:close()
end

-- ---------------------------------------------------------------- reading requests

local function add_body(req, bytes)
    local a, b = req.sum_a, req.sum_b
    for i = 1, #bytes do
        a = (a + bytes:byte(i)) % 65521
        b = (b + a) % 65521
    end
    req.sum_a, req.sum_b = a, b
    if req.body_len < RECORD_MAX then req.pieces[#req.pieces + 1] = bytes end
    req.body_len = req.body_len + #bytes
end

local function parse_head(conn, head)
    local method, target, version = head:match("^(%S+) (%S+) (HTTP/1%.%d)\r\n")
    if not method then return nil, "malformed request line" end
    local req = { conn = conn.id, n = conn.requests_n + 1, method = method, target = target,
        version = version, head = head, fields = {}, pieces = {}, body_len = 0, sum_a = 1,
        sum_b = 0, framing = "none", state = "done", trailers = {} }
    for name, value in head:gmatch("\r\n([^:\r\n]+):[ \t]*([^\r\n]*)") do
        req.fields[#req.fields + 1] = { name, value }
        local key = name:lower()
        if key == "transfer-encoding" then
            req.framing, req.state = "chunked", "size"
        elseif key == "content-length" and req.framing ~= "chunked" then
            req.framing, req.left = "length", tonumber(value)
            req.state = "length"
        end
    end
    return req
end

-- Take as much of the body as conn.buf holds. True when the request is whole; nil, err when broken.
local STATES = {}

function STATES.length(conn, req)
    local bytes = conn.buf:sub(1, req.left)
    conn.buf = conn.buf:sub(#bytes + 1)
    add_body(req, bytes)
    req.left = req.left - #bytes
    if req.left > 0 then return false end
    req.state = "done"
    return true
end

function STATES.size(conn, req)
    local line_end = conn.buf:find("\r\n", 1, true)
    if not line_end then return false end
    local n = conn.buf:sub(1, line_end - 1):match("^(%x+)")
    if not n then return nil, "malformed chunk size" end
    conn.buf = conn.buf:sub(line_end + 2)
    req.left = tonumber(n, 16)
    req.state = req.left == 0 and "trailers" or "data"
    return true
end

function STATES.data(conn, req)
    local bytes = conn.buf:sub(1, req.left)
    conn.buf = conn.buf:sub(#bytes + 1)
    add_body(req, bytes)
    req.left = req.left - #bytes
    if req.left > 0 then return false end
    req.state = "crlf"
    return true
end

function STATES.crlf(conn, req)
    if #conn.buf < 2 then return false end
    if conn.buf:sub(1, 2) ~= "\r\n" then return nil, "chunk does not end with CRLF" end
    conn.buf = conn.buf:sub(3)
    req.state = "size"
    return true
end

function STATES.trailers(conn, req)
    local line_end = conn.buf:find("\r\n", 1, true)
    if not line_end then return false end
    local line = conn.buf:sub(1, line_end - 1)
    conn.buf = conn.buf:sub(line_end + 2)
    if line == "" then
        req.state = "done"
        return true
    end
    local name, value = line:match("^([^:]+):[ \t]*(.*)$")
    if not name then return nil, "malformed trailer" end
    req.trailers[#req.trailers + 1] = { name, value }
    return true
end

local function read_body(conn, req)
    while req.state ~= "done" do
        local more, err = STATES[req.state](conn, req)
        if not more then return more, err end
    end
    return true
end

-- ---------------------------------------------------------------- routes and steps

local function steps_of_response(res, method)
    local status = res.status or 200
    local lines = { ("HTTP/1.1 %d %s"):format(status, res.reason or REASONS[status] or "") }
    for name, value in pairs(res.fields or {}) do
        if type(name) == "number" then name, value = value[1], value[2] end
        lines[#lines + 1] = name .. ": " .. value
    end
    local body = res.body or ""
    if res.chunked then
        local n = res.chunked == true and math.max(#body, 1) or res.chunked
        local pieces = {}
        for i = 1, #body, n do
            local piece = body:sub(i, i + n - 1)
            pieces[#pieces + 1] = ("%x\r\n%s\r\n"):format(#piece, piece)
        end
        body = table.concat(pieces) .. "0\r\n\r\n"
        lines[#lines + 1] = "Transfer-Encoding: chunked"
    elseif status ~= 204 and status ~= 304 and status >= 200 then
        lines[#lines + 1] = "Content-Length: " .. #body
    end
    if res.close then lines[#lines + 1] = "Connection: close" end
    if method == "HEAD" or status == 204 or status == 304 then body = "" end
    local steps = { { send = table.concat(lines, "\r\n") .. "\r\n\r\n" .. body } }
    if res.close then steps[2] = { close = true } end
    return steps
end

local function route_of(req)
    local path = req.target:match("^[^?]*")
    local route = script.routes[path] or script.routes["*"] or { status = 404 }
    if route.turns then
        turns[route] = (turns[route] or 0) + 1
        route = route.turns[math.min(turns[route], #route.turns)]
    end
    return route
end

local function set_linger_reset(fd)
    C.setsockopt(fd, SOL_SOCKET, SO_LINGER, ffi.new("int[2]", 1, 0), 8)
end

local function push(conn)
    if conn.codec then conn.wire = conn.wire .. conn.codec:take_out() end
end

local function shut(conn, who, is_reset)
    if conn.codec and who == "origin" and not is_reset then -- what was said last is not lost
        conn.codec:finish()
        push(conn)
        C.send(conn.fd, conn.wire, #conn.wire, MSG_NOSIGNAL)
    end
    conn.closed = who
    if conn.req then record_request(conn, conn.req, false) end
    conn.req = nil
    if conn.id then record_conn(conn) end
    C.epoll_ctl(ep, DEL, conn.fd, nil)
    C.close(conn.fd)
    conns[conn.fd] = nil
    conn.fd = nil
end

-- Send back whole WebSocket frames, unmasked (RFC 6455 §5.2); frames up to 64 KB.
local function echo_frames(conn)
    while #conn.buf >= 2 do
        local b1, b2 = conn.buf:byte(1, 2)
        local n, at = bit.band(b2, 127), 3
        if n == 126 then
            if #conn.buf < 4 then return end
            n, at = conn.buf:byte(3) * 256 + conn.buf:byte(4), 5
        end
        local masked = b2 >= 128
        local total = at - 1 + (masked and 4 or 0) + n
        if #conn.buf < total then return end
        local data = conn.buf:sub(total - n + 1, total)
        if masked then
            local mask, i = { conn.buf:byte(at, at + 3) }, 0
            data = data:gsub(".", function(ch)
                i = i + 1
                return string.char(bit.bxor(ch:byte(), mask[(i - 1) % 4 + 1]))
            end)
        end
        local head = n < 126 and string.char(b1, n)
            or string.char(b1, 126, bit.rshift(n, 8), bit.band(n, 255))
        conn.out = conn.out .. head .. data
        conn.buf = conn.buf:sub(total + 1)
    end
end

-- One step. True: go on with the next; false: wait.
local function run_step(conn, step)
    if step.send then
        local left = conn.times or step.times or 1
        local n = math.max(1, math.min(left, math.floor(BLOCK / math.max(#step.send, 1))))
        conn.out = conn.out .. step.send:rep(n)
        conn.times = left > n and left - n or nil
        return conn.times == nil, true
    elseif step.wait then
        conn.wake_at = conn.wake_at or posix.now() + step.wait
        if posix.now() < conn.wake_at then return false end
        conn.wake_at = nil
    elseif step.gate then
        conn.gated = not posix.exists(script.dir .. "/gate-" .. step.gate)
        if conn.gated then return false end
    elseif step.close or step.reset then
        if step.reset then set_linger_reset(conn.fd) end
        shut(conn, "origin", step.reset)
        return false
    elseif step.finish then
        if conn.codec then conn.codec:finish() else C.shutdown(conn.fd, 1) end
    elseif step.hang then
        return false
    elseif step.echo then
        if step.echo == "ws" then
            echo_frames(conn)
        else
            conn.out, conn.buf = conn.out .. conn.buf, ""
        end
        return false
    elseif step.pause ~= nil then
        conn.paused = step.pause
    elseif step.body then
        return conn.req == nil
    end
    return true
end

-- Bytes of conn.out, or the frames for them, into conn.wire: what goes over the socket.
local function translate(conn)
    if conn.codec then
        local ok, err = pcall(conn.codec.write, conn.codec, conn.out)
        push(conn)
        if not ok then
            io.stderr:write("origin: ", tostring(err), "\n")
            conn.out = ""
            shut(conn, "origin")
            return false
        end
    else
        conn.wire = conn.wire .. conn.out
    end
    conn.out = ""
    return true
end

-- Send what is pending; false when the socket took not all of it, or windows keep some back.
local function flush(conn)
    if not translate(conn) then return false end
    while conn.wire ~= "" do
        local n = tonumber(C.send(conn.fd, conn.wire, #conn.wire, MSG_NOSIGNAL))
        if n < 0 then
            local errno = ffi.errno()
            if errno == posix.EAGAIN then return false end
            if errno ~= posix.EINTR then
                shut(conn, "reset")
                return false
            end
        else
            conn.wire = conn.wire:sub(n + 1)
        end
    end
    return not (conn.codec and conn.codec:is_blocked())
end

-- Read on in the current request. False when the connection is broken and closed.
local function advance_request(conn)
    if not conn.req and not conn.plan then
        local _, head_end = conn.buf:find("\r\n\r\n", 1, true)
        if not head_end then return true end
        local req, err = parse_head(conn, conn.buf:sub(1, head_end))
        conn.buf = conn.buf:sub(head_end + 1)
        if not req then
            io.stderr:write("origin: ", err, "\n")
            shut(conn, "origin")
            return false
        end
        conn.req = req
        local route = route_of(req)
        local method = req.method
        conn.next_plan = route[1] and route or steps_of_response(route, method)
        if route.early then
            conn.plan, conn.at = conn.next_plan, 1
        end
    end
    if conn.req then
        local whole, err = read_body(conn, conn.req)
        if whole == nil then
            io.stderr:write("origin: ", err, "\n")
            shut(conn, "origin")
            return false
        end
        if whole then
            conn.requests_n = conn.requests_n + 1
            local req = conn.req
            conn.req = nil
            record_request(conn, req, true)
            if not conn.plan then conn.plan, conn.at = conn.next_plan, 1 end
        end
    end
    return true
end

-- Go on with a connection as far as possible.
local function run(conn)
    conn.more = false
    for turn = 1, math.huge do
        if not conn.fd then return end
        if turn > TURNS then -- others, and what this client says, come first
            conn.more = true
            return
        end
        if not advance_request(conn) then return end
        if not flush(conn) or not conn.plan then return end
        local step = conn.plan[conn.at]
        if not step then
            if conn.req then return end -- answered early; its body still comes
            conn.plan = nil
        else
            local next_step, again = run_step(conn, step)
            if not conn.fd then return end
            if next_step then
                conn.at = conn.at + 1
            elseif not again and conn.out == "" then
                return
            end
        end
        if not conn.plan and conn.buf == "" then return end
    end
end

-- ---------------------------------------------------------------- the loop

local buffer = ffi.new("char[?]", BLOCK)

-- A client of HTTP/2 broke off its stream: the end of a connection, as far as our records go. What
-- comes next on it is another one.
local function renew(conn)
    if conn.req then record_request(conn, conn.req, false) end
    conn.closed = "client"
    if conn.id then record_conn(conn) end
    for _, name in ipairs { "req", "plan", "next_plan", "times", "wake_at", "gated", "paused",
        "closed" } do
        conn[name] = nil
    end
    conn.buf, conn.out, conn.id = "", "", nil
    conn.codec:revive()
end

local function number(conn)
    conns_n = conns_n + 1
    conn.id, conn.raw_n, conn.requests_n = conns_n, 0, 0
    record_conn(conn)
end

-- Bytes of the client: as they are, or as the text that the frames mean. The first ones tell.
local function take(conn, bytes)
    if conn.is_new then
        conn.first = conn.first .. bytes
        conn.codec, conn.is_new = protocol.server(conn.first)
        if conn.is_new then return "" end
        bytes, conn.first = conn.first, nil
    end
    if not conn.codec then return bytes end
    conn.codec:feed(bytes)
    return conn.codec:take_in()
end

local function show(conn, text)
    if not conn.id and text ~= "" then number(conn) end
    if conn.id then record_raw(conn, text) end
    conn.buf = conn.buf .. text
end

local function receive(conn)
    local n = tonumber(C.recv(conn.fd, buffer, BLOCK, 0))
    if n > 0 then
        show(conn, take(conn, ffi.string(buffer, n)))
        while conn.codec and conn.codec.ended do
            renew(conn)
            show(conn, conn.codec:take_in())
        end
    elseif n == 0 then
        conn.finished = true
        if not conn.plan then shut(conn, "client") end
    elseif ffi.errno() ~= posix.EAGAIN and ffi.errno() ~= posix.EINTR then
        shut(conn, "reset")
    end
end

-- A client that said FIN while a plan waits: when nothing can come of it any more it is closed.
local function close_finished(conn)
    if not conn.fd or not conn.finished or conn.wire ~= "" then return end
    local step = conn.plan and conn.plan[conn.at]
    if not step or step.hang or step.echo then shut(conn, "client") end
end

local function arm(conn)
    if not conn.fd then return end
    local want = 0
    if not conn.paused and not conn.finished then want = EPOLLIN end
    if conn.wire ~= "" or conn.more then want = want + EPOLLOUT end
    if want ~= conn.armed then
        local event = ffi.new(EVENT)
        event.events, event.data = want, conn.fd
        C.epoll_ctl(ep, conn.armed and MOD or ADD, conn.fd, event)
        conn.armed = want
    end
end

local function service(conn)
    run(conn)
    close_finished(conn)
    arm(conn)
end

local function accept(listener)
    while true do
        local fd = C.accept4(listener, nil, nil, SOCK_NONBLOCK)
        if fd < 0 then return end
        C.setsockopt(fd, 6, 1, ffi.new("int[1]", 1), 4) -- TCP_NODELAY: steps are segments
        local conn = { fd = fd, buf = "", out = "", wire = "", is_new = true, first = "" }
        conns[fd] = conn
        number(conn)
        if script.on_accept == "reset" then set_linger_reset(fd) end
        if script.on_accept == "reset" or script.on_accept == "close" then
            shut(conn, "origin")
        else
            conn.paused = script.on_accept == "hang"
            arm(conn)
        end
    end
end

local function listen()
    local fd = C.socket(2, 1 + SOCK_NONBLOCK, 0)
    C.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, ffi.new("int[1]", 1), 4)
    if script.rcvbuf then
        C.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, ffi.new("int[1]", script.rcvbuf), 4)
    end
    if C.bind(fd, posix.inet("127.0.0.1", script.port), 16) ~= 0 then posix.fail("bind") end
    if C.listen(fd, script.backlog or 512) ~= 0 then posix.fail("listen") end
    local event = ffi.new(EVENT)
    event.events, event.data = EPOLLIN, fd
    C.epoll_ctl(ep, ADD, fd, event)
    return fd
end

-- Milliseconds until a wait step ends or a gate is looked at again; -1: nothing waits.
local function next_timeout()
    local at
    for _, conn in pairs(conns) do
        if conn.wake_at then at = math.min(at or conn.wake_at, conn.wake_at) end
        if conn.gated then at = math.min(at or math.huge, posix.now() + 0.005) end
    end
    return at and math.max(0, math.ceil((at - posix.now()) * 1000)) or -1
end

local listener = listen()
local events = ffi.new(EVENT .. "[64]")
while true do
    local n = C.epoll_wait(ep, events, 64, next_timeout())
    for i = 0, n - 1 do
        local fd = tonumber(events[i].data)
        local conn = conns[fd]
        if fd == listener then
            accept(listener)
        elseif conn then
            if bit.band(events[i].events, bit.bnot(EPOLLOUT)) ~= 0 then receive(conn) end
            if conn.fd then service(conn) end
        end
    end
    local waiting = {}
    for _, conn in pairs(conns) do
        if conn.wake_at or conn.gated then waiting[#waiting + 1] = conn end
    end
    for _, conn in ipairs(waiting) do
        if conn.fd then service(conn) end
    end
end
