-- SPDX-License-Identifier: MIT
--
-- echo: a WebSocket server (RFC 6455) that sends every message back. It is small, not complete: no
-- extensions, frames up to 64 KB. Needs LuaJIT and the package lua-socket.
--
--   luajit examples/websocket/echo.lua [port]

local bit = require("bit")
local mime = require("mime")
local socket = require("socket")

local GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
local MOST = 65535
local TEXT, CLOSE, PING, PONG = 1, 8, 9, 10

-- ---------------------------------------------------------------- SHA-1 (RFC 3174)

local band, bor, bxor, bnot = bit.band, bit.bor, bit.bxor, bit.bnot
local rol, tohex = bit.rol, bit.tohex

local function words_of(text)
    local bits = #text * 8
    text = text .. "\128" .. ("\0"):rep((55 - #text) % 64) .. "\0\0\0\0"
        .. string.char(band(bit.rshift(bits, 24), 255), band(bit.rshift(bits, 16), 255),
            band(bit.rshift(bits, 8), 255), band(bits, 255))
    local words = {}
    for i = 1, #text, 4 do
        local a, b, c, d = text:byte(i, i + 3)
        words[#words + 1] = bor(bit.lshift(a, 24), bit.lshift(b, 16), bit.lshift(c, 8), d)
    end
    return words
end

local function round(i, b, c, d)
    if i <= 20 then return bor(band(b, c), band(bnot(b), d)), 0x5a827999 end
    if i <= 40 then return bxor(b, c, d), 0x6ed9eba1 end
    if i <= 60 then return bor(band(b, c), band(b, d), band(c, d)), 0x8f1bbcdc end
    return bxor(b, c, d), 0xca62c1d6
end

local function sha1(text)
    local words = words_of(text)
    local h = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 }
    for block = 0, #words - 16, 16 do
        local w = {}
        local a, b, c, d, e = unpack(h)
        for i = 1, 80 do
            w[i] = i <= 16 and words[block + i]
                or rol(bxor(w[i - 3], w[i - 8], w[i - 14], w[i - 16]), 1)
            local f, k = round(i, b, c, d)
            a, b, c, d, e = bit.tobit(rol(a, 5) + f + e + k + w[i]), a, rol(b, 30), c, d
        end
        for i, value in ipairs { a, b, c, d, e } do h[i] = bit.tobit(h[i] + value) end
    end
    local hex = ""
    for i = 1, 5 do hex = hex .. tohex(h[i]) end
    return (hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end))
end

-- ---------------------------------------------------------------- one connection, a coroutine

local function read(conn, n)
    while #conn.input < n do coroutine.yield() end
    local bytes = conn.input:sub(1, n)
    conn.input = conn.input:sub(n + 1)
    return bytes
end

local function read_head(conn)
    while true do
        local head, rest = conn.input:match("^(.-\r\n\r\n)(.*)$")
        if head then
            conn.input = rest
            return head
        end
        if #conn.input > MOST then error("head too large", 0) end
        coroutine.yield()
    end
end

local function field(head, name)
    for line in head:gmatch("[^\r\n]+") do
        local key, value = line:match("^([^:]+):%s*(.-)%s*$")
        if key and key:lower() == name then return value end
    end
end

-- RFC 6455 §4.2.2
local function shake_hands(conn)
    local key = field(read_head(conn), "sec-websocket-key")
    if not key then
        conn.output = conn.output .. "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n"
            .. "Connection: upgrade, close\r\nContent-Length: 0\r\n\r\n"
        return false
    end
    conn.output = conn.output .. "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        .. "Connection: upgrade\r\nSec-WebSocket-Accept: " .. mime.b64(sha1(key .. GUID))
        .. "\r\n\r\n"
    return true
end

-- RFC 6455 §5.2: opcode, last, payload. Clients mask; extensions and 64-bit lengths are refused.
local function read_frame(conn)
    local first, second = read(conn, 2):byte(1, 2)
    local n = band(second, 127)
    if band(first, 0x70) ~= 0 or band(second, 128) == 0 or n == 127 then
        error("a frame this server does not take", 0)
    end
    if n == 126 then
        local high, low = read(conn, 2):byte(1, 2)
        n = high * 256 + low
    end
    local mask, payload = { read(conn, 4):byte(1, 4) }, { read(conn, n):byte(1, n) }
    for i = 1, #payload do
        payload[i] = string.char(bxor(payload[i], mask[(i - 1) % 4 + 1]))
    end
    return band(first, 15), band(first, 128) ~= 0, table.concat(payload)
end

local function write_frame(conn, opcode, last, payload)
    local n = #payload
    local length = n < 126 and string.char(n)
        or "\126" .. string.char(math.floor(n / 256), n % 256)
    conn.output = conn.output .. string.char(opcode + (last and 128 or 0)) .. length .. payload
end

local function serve(conn)
    if not shake_hands(conn) then return end
    while true do
        local opcode, last, payload = read_frame(conn)
        if opcode == PING then
            write_frame(conn, PONG, true, payload)
        elseif opcode == CLOSE then
            return write_frame(conn, CLOSE, true, payload)
        elseif opcode <= TEXT + 1 then -- text, binary, or the next piece of one
            write_frame(conn, opcode, last, payload)
        end
    end
end

-- ---------------------------------------------------------------- all of them

local conns = {} -- socket -> connection

local function drop(sock)
    conns[sock] = nil
    sock:close()
end

-- Let it work on what it has; then it waits for more, or has ended.
local function advance(sock)
    local conn = conns[sock]
    if coroutine.status(conn.run) == "suspended" then
        local ran, err = coroutine.resume(conn.run, conn)
        if not ran then io.stderr:write("echo: ", tostring(err), "\n") end
    end
    conn.ended = coroutine.status(conn.run) == "dead"
    if conn.ended and conn.output == "" then drop(sock) end
end

local function receive(sock)
    local bytes, err, part = sock:receive(8192)
    bytes = bytes or part
    if bytes and bytes ~= "" then
        conns[sock].input = conns[sock].input .. bytes
        advance(sock)
    elseif err == "closed" then
        drop(sock)
    end
end

local function send(sock)
    local conn = conns[sock]
    local sent, err, part = sock:send(conn.output)
    conn.output = conn.output:sub((sent or part or 0) + 1)
    if err == "closed" or (conn.ended and conn.output == "") then drop(sock) end
end

local function accept(server)
    local sock = server:accept()
    if not sock then return end
    sock:settimeout(0)
    conns[sock] = { input = "", output = "", run = coroutine.create(serve) }
end

local port = tonumber(arg[1] or 8081)
local server = assert(socket.bind("127.0.0.1", port))
server:settimeout(0)
print(("echo: listening on 127.0.0.1:%d"):format(port))
io.stdout:flush()
while true do
    local readers, writers = { server }, {}
    for sock, conn in pairs(conns) do
        if not conn.ended then readers[#readers + 1] = sock end
        if conn.output ~= "" then writers[#writers + 1] = sock end
    end
    local readable, writable = socket.select(readers, writers)
    for _, sock in ipairs(writable) do
        if conns[sock] then send(sock) end
    end
    for _, sock in ipairs(readable) do
        if sock == server then accept(server) elseif conns[sock] then receive(sock) end
    end
end
