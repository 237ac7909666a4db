-- SPDX-License-Identifier: MIT
--
-- h1_write: heads, fields, chunks and trailers as bytes.

local msg_of = require("spec.support.msg")
local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "http/h1_write.h", "http/h1_parse.h" }

local mem, arena, first, kept

before_each(function()
    mem = C.rp_mem_new()
    arena, first = ffi.new("struct rp_arena"), ffi.new("char[65536] __attribute__((aligned(16)))")
    C.rp_arena_init(arena, first, 65536, 1024 * 1024)
    kept = {}
end)

after_each(function()
    C.rp_arena_reset(arena)
    assert.equal(0, tonumber(mem.live_bytes))
    assert.equal(0, mem.pieces.live_n)
    C.rp_mem_free(ffi.new("struct rp_mem *[1]", mem))
end)

local function keep(s)
    local view = c.str(s)
    kept[#kept + 1] = view
    return view
end

local function chain()
    return msg_of.chain(mem)
end

local drain = msg_of.drain

-- A message with these fields, each in memory of its own.
local function msg(...)
    local m = ffi.new("struct rp_msg")
    C.rp_msg_init(m, nil, 0, 100)
    for _, pair in ipairs { ... } do
        assert.equal(0, C.rp_msg_add(m, arena, 0, keep(pair[1]), keep(pair[2])))
    end
    return m
end

-- A message parsed from a response head: its fields lie next to each other.
local function parsed(head)
    local m, limits = ffi.new("struct rp_msg"), ffi.new("struct rp_h1_limits", 65536, 8192, 100)
    C.rp_msg_init(m, nil, 0, 100)
    local bytes = ffi.new("char[?]", #head + 1, head)
    kept[#kept + 1] = bytes
    assert.equal(0, C.rp_h1_parse_response(bytes, #head, limits, C.RP_M_GET, arena, m))
    return m
end

local function skip_of(...)
    local skip = ffi.new("struct rp_h1_skip")
    for _, id in ipairs { ... } do
        local word = math.floor(id / 64)
        skip.bits[word] = bit.bor(skip.bits[word], bit.lshift(1ULL, id % 64))
    end
    return skip
end

-- The fields as written, in a writer that has room for the bound and no byte more.
local function fields(m, skip)
    local out = chain()
    local bound = tonumber(C.rp_h1_fields_bound(m))
    local w = C.rp_h1_writer_new(mem, bound)
    w["end"] = w.p + bound
    C.rp_h1_put_fields(w, m, skip or skip_of())
    C.rp_h1_writer_finish(w, out)
    return drain(out)
end

describe("h1 fields", function()
    it("are written in order, one line each", function()
        local m = msg({ "A", "1" }, { "B", "" }, { "A", "2" })
        assert.equal("A: 1\r\nB: \r\nA: 2\r\n", fields(m))
        assert.equal("", fields(msg()))
    end)

    it("pass through unchanged when they lie as they were sent", function()
        local lines = "Server: x\r\nX-A: some value\r\nx-b:  \r\nX-C:tight\r\n"
            .. "X-D: blanks \t\r\nX-E: 5\r\n"
        local m = parsed("HTTP/1.1 200 OK\r\n" .. lines .. "\r\n")
        assert.equal("Server: x\r\nX-A: some value\r\nx-b: \r\nX-C: tight\r\n"
            .. "X-D: blanks\r\nX-E: 5\r\n", fields(m))
    end)

    it("leave out what is skipped, deleted or hop-by-hop, wherever it stands", function()
        local m = parsed("HTTP/1.1 200 OK\r\nConnection: X-Gone\r\nX-1: a\r\nServer: s\r\n"
            .. "X-2: b\r\nX-Gone: now\r\nDate: d\r\nKeep-Alive: 5\r\n"
            .. "X-3: c\r\nContent-Length: 0\r\n\r\n")
        local hop = C.rp_h1_hop
        assert.equal("X-1: a\r\nServer: s\r\nX-2: b\r\nDate: d\r\nX-3: c\r\n", fields(m, hop))
        C.rp_msg_del(m, 0, keep("X-2"))
        assert.equal("Connection: X-Gone\r\nX-1: a\r\nX-3: c\r\n",
            fields(m, skip_of(C.RP_H_SERVER, C.RP_H_DATE, C.RP_H_KEEP_ALIVE,
                C.RP_H_CONTENT_LENGTH)))
    end)

    it("are right after edits between neighbours", function()
        local m = parsed("HTTP/1.1 200 OK\r\nX-1: a\r\nX-2: b\r\nX-3: c\r\nX-4: d\r\n\r\n")
        assert.equal(0, C.rp_msg_set(m, arena, 0, keep("X-2"), keep("other")))
        assert.equal(0, C.rp_msg_add(m, arena, 0, keep("X-5"), keep("e")))
        C.rp_msg_del(m, 0, keep("X-4"))
        assert.equal("X-1: a\r\nX-2: other\r\nX-3: c\r\nX-5: e\r\n", fields(m))
    end)

    it("skip every hop-by-hop field and Content-Length", function()
        local hop = C.rp_h1_hop
        for id = 1, tonumber(C.RP_H_COUNT) - 1 do
            local word = hop.bits[math.floor(id / 64)]
            local has = bit.band(bit.rshift(word, id % 64), 1ULL) == 1ULL
            local want = C.rp_token_header_is_hop(id) or id == C.RP_H_CONTENT_LENGTH
            assert.equal(want, has, c.lua(C.rp_token_header_name(id)))
        end
    end)
end)

describe("h1 status line", function()
    local function status_line(m)
        local out = chain()
        local w = C.rp_h1_writer_new(mem, C.rp_h1_fields_bound(m) + 64)
        C.rp_h1_put_status(w, m)
        C.rp_h1_writer_finish(w, out)
        return drain(out)
    end

    it("has the message's reason or the standard one", function()
        local m = msg()
        m.status = 404
        assert.equal("HTTP/1.1 404 Not Found\r\n", status_line(m))
        m.reason = keep("Nope")
        assert.equal("HTTP/1.1 404 Nope\r\n", status_line(m))
        m.status, m.reason = 799, keep("")
        assert.equal("HTTP/1.1 799 Unknown\r\n", status_line(m))
    end)

    it("fits the bound whatever the upstream's reason is", function()
        local m = parsed("HTTP/1.1 200 " .. ("r"):rep(40000) .. "\r\nX-A: " .. ("v"):rep(16000)
            .. "\r\n\r\n")
        assert.equal(40000 + 15, #status_line(m))
        assert.is_true(tonumber(C.rp_h1_fields_bound(m)) >= 40000 + 16005)
    end)
end)

describe("h1 chunks", function()
    local function chunk(...)
        local out, input = chain(), chain()
        for _, s in ipairs { ... } do
            C.rp_chain_add_copy(input, keep(s))
        end
        C.rp_h1_put_chunk(out, input)
        assert.equal(0, tonumber(input.bytes))
        return drain(out)
    end

    it("carry their size in hexadecimal", function()
        assert.equal("1\r\na\r\n", chunk("a"))
        assert.equal("f\r\n" .. ("x"):rep(15) .. "\r\n", chunk("xxxxxxxxxx", "xxxxx"))
        assert.equal("10\r\n" .. ("x"):rep(16) .. "\r\n", chunk(("x"):rep(16)))
        local long = ("0123456789"):rep(20000)
        assert.equal("30d40\r\n" .. long .. "\r\n", chunk(long))
    end)

    it("are never empty: that would end the body", function()
        assert.equal("", chunk())
        assert.equal("", chunk(""))
    end)

    it("end with a last chunk and the trailers that may be sent", function()
        local out = chain()
        C.rp_h1_put_last_chunk(out, nil)
        assert.equal("0\r\n\r\n", drain(out))
        local m = msg({ "X-Sum", "1" }, { "Transfer-Encoding", "chunked" },
            { "Content-Length", "5" }, { "ETag", "\"e\"" })
        C.rp_h1_put_last_chunk(out, m)
        assert.equal("0\r\nX-Sum: 1\r\nETag: \"e\"\r\n\r\n", drain(out))
    end)
end)
