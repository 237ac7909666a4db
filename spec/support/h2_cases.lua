-- SPDX-License-Identifier: MIT
--
-- h2_cases: what RFC 9113 (HTTP/2), 7541 (HPACK), 8441 and 9218 ask of a server, as bytes and the
-- outcome. spec/e2e/h2_conformance_spec.lua sends them.
--
-- A case: section, name, run(c), and one outcome:
--   goaway = code        the connection ends: GOAWAY with that code, then it is closed
--   closed = true        the connection ends, with GOAWAY or without
--   reset = code         the stream c.stream (1) is reset so; the connection serves on
--   status = n           the stream c.stream (1) is answered so; the connection serves on
--   serves = true        nothing happens: the connection serves on
-- run may also check by itself. c is a client of spec.support.h2, SETTINGS exchanged, but for cases
-- with raw = true, for which only the preface was sent.
-- The server: GET /ok is answered at once; POST /hold is read and never answered, POST /stuck not
-- even read; GET /big has 100,000 bytes. It lets 10 streams run at once, with windows of 64 KB.

local h2 = require("spec.support.h2")

local DATA, HEADERS, PRIORITY, RST, SETTINGS = h2.DATA, h2.HEADERS, h2.PRIORITY, h2.RST_STREAM,
    h2.SETTINGS
local PUSH, PING, GOAWAY, WINDOW, CONTINUATION = h2.PUSH_PROMISE, h2.PING, h2.GOAWAY,
    h2.WINDOW_UPDATE, h2.CONTINUATION
local END_STREAM, END_HEADERS, PADDED, PRIORITIZED = h2.END_STREAM, h2.END_HEADERS, h2.PADDED,
    h2.PRIORITIZED
local PROTOCOL, FLOW, CLOSED, SIZE, COMPRESSION, CANCEL = h2.PROTOCOL_ERROR,
    h2.FLOW_CONTROL_ERROR, h2.STREAM_CLOSED, h2.FRAME_SIZE_ERROR, h2.COMPRESSION_ERROR, h2.CANCEL
local WHOLE = END_STREAM + END_HEADERS
local u32 = h2.u32

local M = { list = {} }

-- ---------------------------------------------------------------- requests in bytes

local function fields_of(method, path, more)
    local list = { { ":method", method }, { ":scheme", "http" }, { ":path", path },
        { ":authority", "test" } }
    for _, f in ipairs(more or {}) do list[#list + 1] = f end
    return list
end

local function get(more)
    return h2.block(fields_of("GET", "/ok", more))
end

local function post(more)
    return h2.block(fields_of("POST", "/hold", more))
end

-- A request head without one of its pseudo-header fields.
local function without(name)
    local list = {}
    for _, f in ipairs(fields_of("GET", "/ok")) do
        if f[1] ~= name then list[#list + 1] = f end
    end
    return h2.block(list)
end

-- Streams in the states that the cases need; all are stream 1.
local function open(c)
    c:send(HEADERS, END_HEADERS, 1, post())
end

local function half_closed(c)
    c:send(HEADERS, WHOLE, 1, h2.block(fields_of("GET", "/hold")))
end

local function cancelled(c)
    open(c)
    c:send(RST, 0, 1, u32(CANCEL))
end

local function closed(c)
    c:send(HEADERS, WHOLE, 1, get())
    c:response(1)
end

local function add(section, name, outcome, run)
    outcome.section, outcome.name, outcome.run = section, name, run
    M.list[#M.list + 1] = outcome
end

local function head(section, name, outcome, block, flags)
    add(section, name, outcome, function(c) c:send(HEADERS, flags or WHOLE, 1, block) end)
end

local function bytes_got(c, id)
    return #table.concat(c.streams[id] and c.streams[id].pieces or {})
end

-- ---------------------------------------------------------------- 3, 4: beginning, frames

add("3.4", "a first frame that is not SETTINGS", { raw = true, goaway = PROTOCOL }, function(c)
    c:send(PING, 0, 0, "12345678")
end)
add("3.4", "SETTINGS and requests in one piece with the preface", { raw = true, status = 200 },
    function(c)
        c.wire:send(h2.frame(SETTINGS, 0, 0, "") .. h2.frame(HEADERS, WHOLE, 1, get()))
    end)

add("4.1", "a frame of an unknown type", { serves = true }, function(c)
    c:send(0x2a, 0, 0, "12345678")
end)
add("4.1", "a frame of an unknown type on a stream", { status = 200 }, function(c)
    c:send(0x2a, 255, 1, "12345678")
    c:send(HEADERS, WHOLE, 1, get())
end)
add("4.1", "undefined flags", { serves = true }, function(c)
    c:send(PING, 0xfe, 0, "undefine")
    c:wait(function() return c.pong == "undefine" end)
end)
add("4.1", "the reserved bit of a stream's number", { serves = true }, function(c)
    c:send(PING, 0, 0x80000000, "reserved")
    c:wait(function() return c.pong == "reserved" end)
end)

add("4.2", "DATA of the largest size", { serves = true }, function(c)
    open(c)
    c:send(DATA, 0, 1, ("x"):rep(16384))
end)
add("4.2", "DATA that is larger", { goaway = SIZE }, function(c)
    open(c)
    c:send(DATA, 0, 1, ("x"):rep(16385))
end)
add("4.2", "HEADERS that are larger", { goaway = SIZE }, function(c)
    c:send(HEADERS, WHOLE, 1, get { { "x", ("x"):rep(16385) } })
end)

head("4.3", "a field block that breaks off", { goaway = COMPRESSION }, "\64\5ab")
head("4.3", "a field block that breaks off in an index", { goaway = COMPRESSION }, "\255\255")
add("4.3", "another frame in the middle of a block", { goaway = PROTOCOL }, function(c)
    c:send(HEADERS, END_STREAM, 1, get())
    c:send(PRIORITY, 0, 1, u32(0) .. "\0")
end)
add("4.3", "another stream's HEADERS in the middle of a block", { goaway = PROTOCOL }, function(c)
    c:send(HEADERS, END_STREAM, 1, get())
    c:send(HEADERS, WHOLE, 3, get())
end)

-- ---------------------------------------------------------------- 5: streams

add("5.1", "idle: DATA", { goaway = PROTOCOL }, function(c) c:send(DATA, END_STREAM, 1, "x") end)
add("5.1", "idle: RST_STREAM", { goaway = PROTOCOL }, function(c) c:send(RST, 0, 1, u32(CANCEL)) end)
add("5.1", "idle: WINDOW_UPDATE", { goaway = PROTOCOL }, function(c)
    c:send(WINDOW, 0, 1, u32(100))
end)
add("5.1", "idle: CONTINUATION", { goaway = PROTOCOL }, function(c)
    c:send(CONTINUATION, END_HEADERS, 1, get())
end)
add("5.1", "idle: PRIORITY", { serves = true }, function(c)
    c:send(PRIORITY, 0, 7, u32(0) .. "\15")
end)
add("5.1", "half closed: DATA", { goaway = CLOSED }, function(c)
    half_closed(c)
    c:send(DATA, END_STREAM, 1, "x")
end)
add("5.1", "half closed: HEADERS", { goaway = CLOSED }, function(c)
    half_closed(c)
    c:send(HEADERS, WHOLE, 1, get())
end)
add("5.1", "half closed: CONTINUATION", { goaway = PROTOCOL }, function(c)
    half_closed(c)
    c:send(CONTINUATION, END_HEADERS, 1, get())
end)
add("5.1", "half closed: WINDOW_UPDATE, PRIORITY, RST_STREAM", { serves = true }, function(c)
    half_closed(c)
    c:send(WINDOW, 0, 1, u32(1000))
    c:send(PRIORITY, 0, 1, u32(0) .. "\15")
    c:send(RST, 0, 1, u32(CANCEL))
end)
add("5.1", "closed by a reset: DATA", { serves = true }, function(c)
    cancelled(c)
    c:send(DATA, END_STREAM, 1, "x")
end)
add("5.1", "closed by a reset: HEADERS", { serves = true }, function(c)
    cancelled(c)
    c:send(HEADERS, WHOLE, 1, get())
end)
add("5.1", "closed by a reset: CONTINUATION", { goaway = PROTOCOL }, function(c)
    cancelled(c)
    c:send(CONTINUATION, END_HEADERS, 1, get())
end)
add("5.1", "closed by its end: DATA", { serves = true }, function(c)
    closed(c)
    c:send(DATA, END_STREAM, 1, "x")
end)
add("5.1", "closed by its end: HEADERS", { serves = true }, function(c)
    closed(c)
    c:send(HEADERS, WHOLE, 1, get())
end)
add("5.1", "closed by its end: CONTINUATION", { goaway = PROTOCOL }, function(c)
    closed(c)
    c:send(CONTINUATION, END_HEADERS, 1, get())
end)
add("5.1", "closed by its end: WINDOW_UPDATE, PRIORITY, RST_STREAM", { serves = true },
    function(c)
        closed(c)
        c:send(WINDOW, 0, 1, u32(1000))
        c:send(PRIORITY, 0, 1, u32(0) .. "\15")
        c:send(RST, 0, 1, u32(CANCEL))
    end)

add("5.1.1", "an even number", { goaway = PROTOCOL }, function(c)
    c:send(HEADERS, WHOLE, 2, get())
end)
add("5.1.1", "a number below one that was used", { serves = true }, function(c)
    c:send(HEADERS, WHOLE, 5, get())
    c:response(5)
    c:send(HEADERS, WHOLE, 3, get())
end)
add("5.1.1", "the largest number", { status = 200, last = true }, function(c)
    c.stream = 0x7fffffff
    c:send(HEADERS, WHOLE, c.stream, get())
end)
add("5.1.2", "more streams than announced", { goaway = PROTOCOL }, function(c)
    for i = 1, 11 do c:send(HEADERS, WHOLE, 2 * i - 1, h2.block(fields_of("GET", "/hold"))) end
end)
add("5.3", "PRIORITY that depends on itself", { serves = true }, function(c)
    c:send(PRIORITY, 0, 1, u32(1) .. "\15")
end)
add("5.3", "HEADERS that depend on themselves", { goaway = PROTOCOL }, function(c)
    c:send(HEADERS, WHOLE + PRIORITIZED, 1, u32(1) .. "\15" .. get())
end)
add("5.5", "an unknown frame in the middle of a block", { goaway = PROTOCOL }, function(c)
    c:send(HEADERS, END_STREAM, 1, get())
    c:send(0x2a, 0, 0, "12345678")
end)

-- ---------------------------------------------------------------- 6: kinds of frames

add("6.1", "DATA on the connection", { goaway = PROTOCOL }, function(c) c:send(DATA, 0, 0, "x") end)
add("6.1", "DATA with more padding than payload", { goaway = PROTOCOL }, function(c)
    open(c)
    c:send(DATA, PADDED + END_STREAM, 1, "\6test")
end)
add("6.1", "DATA with padding", { serves = true }, function(c)
    open(c)
    for _ = 1, 20 do c:send(DATA, PADDED, 1, "\200" .. "x" .. ("\0"):rep(200)) end
end)
head("6.2", "HEADERS on the connection", { goaway = PROTOCOL }, get())
M.list[#M.list].run = function(c) c:send(HEADERS, WHOLE, 0, get()) end
head("6.2", "HEADERS with more padding than payload", { goaway = PROTOCOL }, "\255" .. get(),
    WHOLE + PADDED)
head("6.2", "HEADERS with padding and priority", { status = 200 },
    "\4" .. u32(0) .. "\15" .. get() .. "\0\0\0\0", WHOLE + PADDED + PRIORITIZED)
head("6.2", "HEADERS too short for their priority", { goaway = SIZE }, "\0\0",
    WHOLE + PRIORITIZED)
add("6.3", "PRIORITY on the connection", { goaway = PROTOCOL }, function(c)
    c:send(PRIORITY, 0, 0, u32(0) .. "\15")
end)
add("6.3", "PRIORITY of another size", { goaway = SIZE }, function(c)
    open(c)
    c:send(PRIORITY, 0, 1, "1234")
end)
add("6.4", "RST_STREAM on the connection", { goaway = PROTOCOL }, function(c)
    c:send(RST, 0, 0, u32(CANCEL))
end)
add("6.4", "RST_STREAM of another size", { goaway = SIZE }, function(c)
    open(c)
    c:send(RST, 0, 1, "123")
end)
add("6.5", "SETTINGS ACK with a payload", { goaway = SIZE }, function(c)
    c:send(SETTINGS, h2.ACK, 0, h2.settings { { 1, 4096 } })
end)
add("6.5", "SETTINGS on a stream", { goaway = PROTOCOL }, function(c) c:send(SETTINGS, 0, 1, "") end)
add("6.5", "SETTINGS of another size", { goaway = SIZE }, function(c)
    c:send(SETTINGS, 0, 0, "1234567")
end)
for _, s in ipairs {
    { "ENABLE_PUSH that is no boolean", 2, 2, PROTOCOL },
    { "INITIAL_WINDOW_SIZE above 2^31-1", 4, 2 ^ 31, FLOW },
    { "MAX_FRAME_SIZE below 2^14", 5, 16383, PROTOCOL },
    { "MAX_FRAME_SIZE above 2^24-1", 5, 2 ^ 24, PROTOCOL },
    { "ENABLE_CONNECT_PROTOCOL that is no boolean (RFC 8441 3)", 8, 2, PROTOCOL },
    { "NO_RFC7540_PRIORITIES that is no boolean (RFC 9218 2.1)", 9, 2, PROTOCOL },
} do
    add("6.5.2", s[1], { goaway = s[4] }, function(c)
        c:send(SETTINGS, 0, 0, h2.settings { { s[2], s[3] } })
    end)
end
add("6.5.2", "an unknown setting", { serves = true }, function(c)
    c:send(SETTINGS, 0, 0, h2.settings { { 0xff, 1 }, { 0x1a2a, 0xffffffff } })
end)
add("6.5.3", "SETTINGS are acknowledged, the last value of several counts", { status = 200 },
    function(c)
        c.acked, c.windows = nil, false
        c:send(SETTINGS, 0, 0, h2.settings { { 4, 100 }, { 4, 1 } })
        c:wait(function() return c.acked end)
        c:send(HEADERS, WHOLE, 3, h2.block(fields_of("GET", "/big")))
        c:wait(function() return bytes_got(c, 3) > 0 end)
        assert(bytes_got(c, 3) == 1)
        c:send(SETTINGS, 0, 0, h2.settings { { 4, 1000 } })
        c.stream = 5
        c:send(HEADERS, WHOLE, 5, get())
    end)
add("6.6", "PUSH_PROMISE from a client", { goaway = PROTOCOL }, function(c)
    c:send(HEADERS, END_HEADERS, 1, post())
    c:send(PUSH, END_HEADERS, 1, u32(2) .. get())
end)
add("6.7", "PING comes back with its payload", { serves = true }, function(c)
    c:send(PING, 0, 0, "\0\1\2\3\255\254\253\252")
    c:wait(function() return c.pong == "\0\1\2\3\255\254\253\252" end)
end)
add("6.7", "PING ACK is not answered", { serves = true }, function(c)
    c:send(PING, h2.ACK, 0, "unasked!")
    c:send(PING, 0, 0, "asked!!!")
    c:wait(function() return c.pong end)
    assert(c.pong == "asked!!!")
end)
add("6.7", "PING on a stream", { goaway = PROTOCOL }, function(c) c:send(PING, 0, 1, "12345678") end)
add("6.7", "PING of another size", { goaway = SIZE }, function(c) c:send(PING, 0, 0, "1234567") end)
add("6.8", "GOAWAY on a stream", { goaway = PROTOCOL }, function(c)
    c:send(GOAWAY, 0, 1, u32(0) .. u32(0))
end)
add("6.8", "GOAWAY that is too short", { goaway = SIZE }, function(c) c:send(GOAWAY, 0, 0, u32(0)) end)
add("6.8", "GOAWAY from a client that waits for an answer", { closed = true }, function(c)
    c:send(HEADERS, WHOLE, 1, h2.block(fields_of("GET", "/big")))
    c:send(GOAWAY, 0, 0, u32(0) .. u32(0) .. "bye")
    assert(#c:response(1).body == 100000)
end)
add("6.9", "WINDOW_UPDATE of 0 on the connection", { goaway = PROTOCOL }, function(c)
    c:send(WINDOW, 0, 0, u32(0))
end)
add("6.9", "WINDOW_UPDATE of 0 on a stream", { goaway = PROTOCOL }, function(c)
    open(c)
    c:send(WINDOW, 0, 1, u32(0))
end)
add("6.9", "WINDOW_UPDATE of another size", { goaway = SIZE }, function(c)
    c:send(WINDOW, 0, 0, "\0\0\1")
end)
add("6.9.1", "no more is sent than the window of a stream", { serves = true }, function(c)
    c.windows = false
    c:send(SETTINGS, 0, 0, h2.settings { { 4, 10 } })
    c:send(HEADERS, WHOLE, 1, h2.block(fields_of("GET", "/big")))
    c:wait(function() return bytes_got(c, 1) > 0 end)
    c:send(PING, 0, 0, "12345678")
    c:wait(function() return c.pong end)
    assert(bytes_got(c, 1) == 10)
    c:send(SETTINGS, 0, 0, h2.settings { { 4, 1000 } })
end)
add("6.9.1", "a window above 2^31-1 on the connection", { goaway = FLOW }, function(c)
    c:send(WINDOW, 0, 0, u32(0x7fffffff))
    c:send(WINDOW, 0, 0, u32(0x7fffffff))
end)
add("6.9.1", "a window above 2^31-1 on a stream", { reset = FLOW }, function(c)
    open(c)
    c:send(WINDOW, 0, 1, u32(0x7fffffff))
    c:send(WINDOW, 0, 1, u32(0x7fffffff))
end)
add("6.9.1", "more content than the window of the stream", { reset = FLOW }, function(c)
    c:send(HEADERS, END_HEADERS, 1, h2.block(fields_of("POST", "/stuck")))
    for _ = 1, 5 do c:send(DATA, 0, 1, ("x"):rep(16384)) end
end)
add("6.9.2", "a smaller first window makes those of open streams negative", { serves = true },
    function(c)
        c.windows = false
        c:send(SETTINGS, 0, 0, h2.settings { { 4, 100 } })
        c:send(HEADERS, WHOLE, 1, h2.block(fields_of("GET", "/big")))
        c:wait(function() return bytes_got(c, 1) == 100 end)
        c:send(SETTINGS, 0, 0, h2.settings { { 4, 40 } })
        c:send(WINDOW, 0, 1, u32(60)) -- back to 0
        c:send(PING, 0, 0, "12345678")
        c:wait(function() return c.pong end)
        assert(bytes_got(c, 1) == 100)
        c:send(WINDOW, 0, 1, u32(1))
        c:wait(function() return bytes_got(c, 1) == 101 end)
        c:send(SETTINGS, 0, 0, h2.settings { { 4, 1000 } })
    end)
add("6.9.2", "a first window that makes an open one too large", { reset = FLOW }, function(c)
    open(c)
    c:send(WINDOW, 0, 1, u32(0x7fffffff - 65535))
    c:send(SETTINGS, 0, 0, h2.settings { { 4, 0x7fffffff } })
end)
add("6.10", "a head in many CONTINUATION frames", { status = 200 }, function(c)
    local block = get()
    c:send(HEADERS, END_STREAM, 1, block:sub(1, 5))
    for at = 6, #block, 5 do
        c:send(CONTINUATION, at + 5 > #block and END_HEADERS or 0, 1, block:sub(at, at + 4))
    end
end)
add("6.10", "CONTINUATION behind a whole head", { goaway = PROTOCOL }, function(c)
    c:send(HEADERS, WHOLE, 1, get())
    c:send(CONTINUATION, END_HEADERS, 1, get())
end)
add("6.10", "CONTINUATION on the connection", { goaway = PROTOCOL }, function(c)
    c:send(HEADERS, END_STREAM, 1, get())
    c:send(CONTINUATION, END_HEADERS, 0, "")
end)
add("6.10", "CONTINUATION behind DATA", { goaway = PROTOCOL }, function(c)
    open(c)
    c:send(DATA, 0, 1, "x")
    c:send(CONTINUATION, END_HEADERS, 1, get())
end)
add("7", "GOAWAY with an unknown code", { closed = true }, function(c)
    c:send(GOAWAY, 0, 0, u32(0) .. u32(0xff))
end)
add("7", "RST_STREAM with an unknown code", { serves = true }, function(c)
    open(c)
    c:send(RST, 0, 1, u32(0xff))
end)

-- ---------------------------------------------------------------- 8: messages

add("8.1", "a second head that ends nothing", { reset = PROTOCOL }, function(c)
    open(c)
    c:send(HEADERS, END_HEADERS, 1, h2.block { { "x-trailer", "1" } })
end)
add("8.1", "a pseudo-header field in trailers", { reset = PROTOCOL }, function(c)
    open(c)
    c:send(HEADERS, WHOLE, 1, h2.block { { ":method", "GET" } })
end)
add("8.1.1", "content longer than its length", { reset = PROTOCOL }, function(c)
    c:send(HEADERS, END_HEADERS, 1, post { { "content-length", "1" } })
    c:send(DATA, END_STREAM, 1, "test")
end)
add("8.1.1", "content of several frames longer than its length", { reset = PROTOCOL }, function(c)
    c:send(HEADERS, END_HEADERS, 1, post { { "content-length", "5" } })
    c:send(DATA, 0, 1, "test")
    c:send(DATA, END_STREAM, 1, "test")
end)
add("8.1.1", "content shorter than its length", { reset = PROTOCOL }, function(c)
    c:send(HEADERS, END_HEADERS, 1, post { { "content-length", "5" } })
    c:send(DATA, END_STREAM, 1, "test")
end)
head("8.1.1", "no content in spite of its length", { reset = PROTOCOL },
    post { { "content-length", "5" } })
head("8.1.1", "a length that is no number", { reset = PROTOCOL },
    post { { "content-length", "5x" } })
head("8.1.1", "two lengths", { reset = PROTOCOL },
    post { { "content-length", "5" }, { "content-length", "5" } }, END_HEADERS)
head("8.2.1", "a name with a capital", { reset = PROTOCOL }, get { { "X-Test", "ok" } })
head("8.2.1", "a name with a blank", { reset = PROTOCOL }, get { { "x test", "ok" } })
head("8.2.1", "an empty name", { reset = PROTOCOL }, get { { "", "ok" } })
head("8.2.1", "a value with a NUL", { reset = PROTOCOL }, get { { "x", "a\0b" } })
head("8.2.1", "a value with a line end", { reset = PROTOCOL }, get { { "x", "a\r\nb: c" } })
head("8.2.1", "a value with a blank before it", { reset = PROTOCOL }, get { { "x", " a" } })
head("8.2.1", "a value with a blank behind it", { reset = PROTOCOL }, get { { "x", "a\t" } })
for _, f in ipairs { { "connection", "keep-alive" }, { "proxy-connection", "keep-alive" },
    { "keep-alive", "timeout=1" }, { "transfer-encoding", "chunked" }, { "upgrade", "x" },
    { "te", "trailers, deflate" } } do
    head("8.2.2", f[1] .. ": " .. f[2], { reset = PROTOCOL }, get { f })
end
head("8.2.2", "te: trailers", { status = 200 }, get { { "te", "trailers" } })
head("8.3", "an unknown pseudo-header field", { reset = PROTOCOL },
    h2.block(fields_of("GET", "/ok", { { ":test", "ok" } })))
head("8.3", "a pseudo-header field of responses", { reset = PROTOCOL },
    h2.block(fields_of("GET", "/ok", { { ":status", "200" } })))
head("8.3", "a pseudo-header field behind others", { reset = PROTOCOL },
    h2.block { { ":method", "GET" }, { ":scheme", "http" }, { ":authority", "test" },
        { "x-test", "ok" }, { ":path", "/ok" } })
for _, name in ipairs { ":method", ":scheme", ":path" } do
    head("8.3.1", "no " .. name, { reset = PROTOCOL }, without(name))
end
for _, f in ipairs { { ":method", "GET" }, { ":scheme", "http" }, { ":path", "/ok" },
    { ":authority", "test" } } do
    head("8.3.1", "two " .. f[1], { reset = PROTOCOL }, h2.block(fields_of("GET", "/ok", { f })))
end
head("8.3.1", "an empty :path", { reset = PROTOCOL }, h2.block(fields_of("GET", "")))
head("8.3.1", "a :path without a slash", { reset = PROTOCOL }, h2.block(fields_of("GET", "ok")))
head("8.3.1", "OPTIONS of a whole server", { status = 404 }, h2.block(fields_of("OPTIONS", "*")))
head("8.3.1", "neither :authority nor Host", { reset = PROTOCOL }, without(":authority"))
head("8.3.1", "Host in place of :authority", { status = 200 },
    h2.block { { ":method", "GET" }, { ":scheme", "http" }, { ":path", "/ok" },
        { "host", "test" } })
head("8.5", "CONNECT with a path", { reset = PROTOCOL }, h2.block(fields_of("CONNECT", "/ok")))
head("8.5", "CONNECT without a host", { reset = PROTOCOL }, h2.block { { ":method", "CONNECT" } })

-- ---------------------------------------------------------------- RFC 8441, RFC 9218

head("8441 4", ":protocol without CONNECT", { reset = PROTOCOL },
    h2.block(fields_of("GET", "/ok", { { ":protocol", "websocket" } })))
head("8441 4", "CONNECT with :protocol and no path", { reset = PROTOCOL },
    h2.block { { ":method", "CONNECT" }, { ":protocol", "websocket" }, { ":authority", "test" } })
head("9218 4", "a Priority that cannot be read", { status = 200 }, get { { "priority", "u=9;;,x" } })
add("9218 7.1", "PRIORITY_UPDATE on a stream", { goaway = PROTOCOL }, function(c)
    c:send(h2.PRIORITY_UPDATE, 0, 1, u32(1) .. "u=1")
end)
add("9218 7.1", "PRIORITY_UPDATE for stream 0", { goaway = PROTOCOL }, function(c)
    c:send(h2.PRIORITY_UPDATE, 0, 0, u32(0) .. "u=1")
end)
add("9218 7.1", "PRIORITY_UPDATE that is too short", { goaway = SIZE }, function(c)
    c:send(h2.PRIORITY_UPDATE, 0, 0, "u=1")
end)
add("9218 7.1", "PRIORITY_UPDATE before its stream", { status = 200 }, function(c)
    c:send(h2.PRIORITY_UPDATE, 0, 0, u32(1) .. "u=1, i")
    c:send(HEADERS, WHOLE, 1, get())
end)

-- ---------------------------------------------------------------- RFC 7541

head("7541 2.3.3", "an index behind the tables", { goaway = COMPRESSION }, get() .. "\198")
head("7541 2.3.3", "a name by an index behind the tables", { goaway = COMPRESSION },
    get() .. "\127\0\1x")
head("7541 4.2", "a table size behind a field", { goaway = COMPRESSION }, get() .. "\33")
head("7541 5.1", "an integer that overflows", { goaway = COMPRESSION },
    get() .. "\255\255\255\255\255\255\255\255\255\255\255\127")
head("7541 5.2", "Huffman padding of 8 bits and more", { goaway = COMPRESSION },
    get() .. "\0\133\242\178\75\132\255\132\117\179\138\155") -- "x-test" and a byte of ones
head("7541 5.2", "Huffman padding that is not ones", { goaway = COMPRESSION },
    get() .. "\0\4test\131\73\80\144") -- the last bits are zeros
head("7541 5.2", "Huffman with EOS", { goaway = COMPRESSION },
    get() .. "\0\4test\136\73\80\159\255\255\255\255\255")
head("7541 6.1", "index 0", { goaway = COMPRESSION }, get() .. "\128")
head("7541 6.3", "a table size above the setting", { goaway = COMPRESSION },
    "\63\226\31" .. get()) -- 4097
head("7541 6.3", "a table size of 0 and one within the setting", { status = 200 },
    "\32\63\225\31" .. get()) -- 0, then 4096
head("7541 6.3", "fields by a table that was emptied", { goaway = COMPRESSION },
    h2.block { fields_of("GET", "/ok")[1] } .. "\64\1x\1y\190")
M.list[#M.list].run = function(c)
    c:send(HEADERS, WHOLE, 1, get() .. "\64\1x\1y\190") -- into the table, and by its index
    assert(c:response(1).status == 200)
    c:send(HEADERS, WHOLE, 3, "\32" .. get() .. "\190")
end

return M
