-- SPDX-License-Identifier: MIT
--
-- ws_frame: frames whole and in every cut, the rules of RFC 6455, and the frames that we make.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "http/ws_frame.h" }

local CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

local function xor(text, mask)
    local out = {}
    for i = 1, #text do
        local m = mask:byte((i - 1) % 4 + 1)
        out[i] = string.char(require("bit").bxor(text:byte(i), m))
    end
    return table.concat(out)
end

-- One frame. opt: fin (true), rsv (0), mask (4 bytes), width (7, 16 or 64: the form of the length)
local function frame(opcode, payload, opt)
    opt = opt or {}
    local n = opt.length or #payload
    local width = opt.width or (n < 126 and 7 or n < 65536 and 16 or 64)
    local first = (opt.fin == false and 0 or 128) + (opt.rsv or 0) * 16 + opcode
    local length = ""
    for shift = width == 7 and -1 or width - 8, 0, -8 do
        length = length .. string.char(math.floor(n / 2 ^ shift) % 256)
    end
    local short = width == 7 and n or width == 16 and 126 or 127
    return string.char(first, short + (opt.mask and 128 or 0)) .. length
        .. (opt.mask or "") .. (opt.mask and xor(payload, opt.mask) or payload)
end

-- Feed bytes in reads of these sizes (the last repeats). Result: "OK" or the error, what went on,
-- control frames met { opcode, payload }, the parser.
local function run(bytes, cuts, rules)
    local w = ffi.new("struct rp_ws")
    local r = ffi.new("struct rp_ws_rules", rules or {})
    local used, pass = ffi.new("size_t[1]"), ffi.new("rp_str")
    local payload = ffi.new("char[125]")
    local base, at, round = ffi.cast("const char *", bytes), 0, 0
    local out, controls = {}, {}
    C.rp_ws_init(w)
    while at < #bytes do
        round = round + 1
        local stop = math.min(#bytes, at + (cuts[round] or cuts[#cuts]))
        while at < stop do
            local view = ffi.new("rp_str", base + at, stop - at)
            local e = c.err_name(C.rp_ws_next(w, r, view, used, pass))
            at = at + tonumber(used[0])
            assert(at <= stop)
            if e == "OK" or e == "END" then
                assert(used[0] > 0)
                out[#out + 1] = c.lua(pass)
                if e == "END" then
                    local n = C.rp_ws_payload(w, payload)
                    controls[#controls + 1] = { w.opcode, ffi.string(payload, n) }
                end
            elseif e == "AGAIN" then
                assert(at == stop)
            else
                return e, table.concat(out), controls, w
            end
        end
    end
    return "OK", table.concat(out), controls, w
end

-- The same in one piece, byte by byte, and cut in two at every place (long inputs: at some).
local function parse(bytes, rules)
    local want = { run(bytes, { #bytes }, rules) }
    local last = want[4]
    want[4] = nil
    local function same(cuts, what)
        local got = { run(bytes, cuts, rules) }
        assert.equal(last.left, got[4].left, what)
        assert.equal(last.frames, got[4].frames, what)
        assert.equal(last.closed, got[4].closed, what)
        got[4] = nil
        assert.same(want, got, what)
    end
    same({ 1 }, "byte by byte")
    same({ 3 }, "three at a time")
    local step = math.max(1, math.floor(#bytes / 200))
    for cut = 1, #bytes - 1, step do same({ cut, #bytes }, "cut at " .. cut) end
    return want[1], want[2], want[3], last
end

local function passes(bytes, rules)
    local e, out, controls, w = parse(bytes, rules)
    assert.equal("OK", e)
    assert.is_true(out == bytes)
    return controls, w
end

local function fails(reason, bytes, rules)
    local e, out = parse(bytes, rules)
    assert.equal(reason, e, ("%q"):format(bytes:sub(1, 20)))
    return out
end

local MASK = "\1\2\3\4"
local CLIENT = { from_client = true }

describe("WebSocket frames", function()
    it("go on as they are, of all sizes and both directions", function()
        for _, n in ipairs { 0, 1, 2, 125, 126, 127, 1000, 65535, 65536, 70000 } do
            local payload = ("x"):rep(n)
            passes(frame(TEXT, payload))
            local _, w = passes(frame(BINARY, payload, { mask = MASK }), CLIENT)
            assert.equal(n, tonumber(w.message))
            assert.is_true(C.rp_ws_is_between(w))
        end
    end)

    it("follow each other", function()
        local all = frame(TEXT, "a") .. frame(PING, "p") .. frame(TEXT, "b", { fin = false })
            .. frame(PONG, "") .. frame(CONT, "c", { fin = false }) .. frame(CONT, "")
            .. frame(BINARY, ("z"):rep(300)) .. frame(CLOSE, "\3\232bye")
        local controls, w = passes(all)
        assert.same({ { PING, "p" }, { PONG, "" }, { CLOSE, "\3\232bye" } }, controls)
        assert.equal(8, tonumber(w.frames))
        assert.is_true(w.closed)
    end)

    it("of a client have their control payload unmasked", function()
        local controls = passes(frame(PONG, "hello", { mask = "\255\0\17\34" }), CLIENT)
        assert.same({ { PONG, "hello" } }, controls)
    end)

    it("keep back heads and control frames until they are whole", function()
        local cuts = { frame(TEXT, ("x"):rep(126), { mask = MASK }):sub(1, 7),
            frame(BINARY, ("x"):rep(70000), { mask = MASK }):sub(1, 13),
            frame(PING, "hello", { mask = MASK }):sub(1, -2), "\129" }
        for _, bytes in ipairs(cuts) do
            local e, out, controls, w = parse(bytes, CLIENT)
            assert.equal("OK", e)
            assert.equal("", out)
            assert.same({}, controls)
            assert.is_true(C.rp_ws_is_between(w))
        end
    end)

    it("know when they stand within a payload", function()
        local _, out, _, w = parse(frame(TEXT, "hello"):sub(1, 5))
        assert.equal("\129\5hel", out)
        assert.equal(2, tonumber(w.left))
        assert.is_false(C.rp_ws_is_between(w))
    end)

    it("are masked from clients, and only from them", function()
        fails("WS_PROTOCOL", frame(TEXT, "a"), CLIENT)
        fails("WS_PROTOCOL", frame(PING, ""), CLIENT)
        fails("WS_PROTOCOL", frame(TEXT, "a", { mask = MASK }))
        fails("WS_PROTOCOL", frame(CLOSE, "", { mask = MASK }))
    end)

    it("of control are short and in one piece", function()
        passes(frame(PING, ("p"):rep(125)))
        for _, opcode in ipairs { CLOSE, PING, PONG } do
            fails("WS_PROTOCOL", frame(opcode, "", { fin = false }))
            fails("WS_PROTOCOL", frame(opcode, ("p"):rep(126)))
            fails("WS_PROTOCOL", frame(opcode, ("p"):rep(70000)))
            fails("WS_PROTOCOL", frame(opcode, "", { rsv = 4 }), { extended = true })
        end
    end)

    it("have reserved bits only with an extension, and no unknown opcode", function()
        for rsv = 1, 7 do
            fails("WS_PROTOCOL", frame(TEXT, "a", { rsv = rsv }))
            passes(frame(TEXT, "a", { rsv = rsv }), { extended = true })
        end
        for _, opcode in ipairs { 3, 4, 5, 6, 7, 11, 12, 13, 14, 15 } do
            fails("WS_PROTOCOL", frame(opcode, ""))
            fails("WS_PROTOCOL", frame(opcode, ""), { extended = true })
        end
    end)

    it("go on with a message that began, and begin none within it", function()
        fails("WS_PROTOCOL", frame(CONT, "a"))
        fails("WS_PROTOCOL", frame(TEXT, "a") .. frame(CONT, "b"))
        fails("WS_PROTOCOL", frame(TEXT, "a", { fin = false }) .. frame(TEXT, "b"))
        fails("WS_PROTOCOL", frame(TEXT, "a", { fin = false }) .. frame(BINARY, "b"))
    end)

    it("have the shortest form of their length", function()
        fails("WS_PROTOCOL", frame(TEXT, ("x"):rep(125), { width = 16 }))
        fails("WS_PROTOCOL", frame(TEXT, ("x"):rep(125), { width = 64 }))
        fails("WS_PROTOCOL", frame(TEXT, ("x"):rep(65535), { width = 64 }))
        fails("WS_PROTOCOL", "\129\127\128\0\0\0\0\0\0\0")
        local _, out, _, w = parse("\130\127\127\255\255\255\255\255\255\255x")
        assert.equal(11, #out)
        assert.equal(0x7ffffffffffffffeULL, w.left)
    end)

    it("of Close have no code or one that may be sent", function()
        for _, code in ipairs { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013,
            1014, 3000, 3999, 4000, 4999 } do
            passes(frame(CLOSE, string.char(math.floor(code / 256), code % 256)))
        end
        for _, code in ipairs { 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535 } do
            fails("WS_PROTOCOL", frame(CLOSE, string.char(math.floor(code / 256), code % 256)))
        end
        passes(frame(CLOSE, ""))
        fails("WS_PROTOCOL", frame(CLOSE, "\3"))
    end)

    it("larger than the limit do not go on", function()
        local rules = { from_client = true, frame_max = 200 }
        local function of(n) return frame(BINARY, ("x"):rep(n), { mask = MASK }) end
        passes(of(200) .. of(200), rules)
        assert.equal(of(200), fails("WS_FRAME_BIG", of(200) .. of(201), rules))
        assert.equal("", fails("WS_FRAME_BIG", of(70000):sub(1, 14), rules))
        passes(frame(PING, ("p"):rep(125), { mask = MASK }), { from_client = true, frame_max = 1 })
    end)

    it("of one message are counted together", function()
        local rules = { message_max = 10 }
        local six = frame(TEXT, "123456", { fin = false })
        passes(six .. frame(PING, ("p"):rep(100)) .. frame(CONT, "1234") .. six
            .. frame(CONT, "1234"), rules)
        assert.equal(six, fails("WS_MESSAGE_BIG", six .. frame(CONT, "12345"), rules))
        fails("WS_MESSAGE_BIG", frame(TEXT, "12345678901"), rules)
        -- two lengths whose sum has more than 64 bits
        local huge = "\2\127\127\255\255\255\255\255\255\255"
        fails("WS_MESSAGE_BIG", huge, { message_max = 10 })
    end)

    it("of ours are read back", function()
        local out = ffi.new("char[131]")
        for _, mask in ipairs { false, ffi.new("uint8_t[4]", { 9, 8, 7, 6 }) } do
            local rules = { from_client = mask and true or false }
            local n = C.rp_ws_put(out, PING, c.str("12 bytes long"), mask or nil)
            assert.same({ { PING, "12 bytes long" } }, (passes(ffi.string(out, n), rules)))
            n = C.rp_ws_put_close(out, 1009, c.str("too big"), mask or nil)
            assert.same({ { CLOSE, "\3\241too big" } }, (passes(ffi.string(out, n), rules)))
            n = C.rp_ws_put_close(out, 1001, c.str(("r"):rep(500)), mask or nil)
            local controls = passes(ffi.string(out, n), rules)
            assert.equal(125, #controls[1][2])
        end
    end)
end)

describe("the WebSocket handshake", function()
    it("answers a key as RFC 6455 1.3 does", function()
        local out = ffi.new("char[28]")
        C.rp_ws_accept(c.str("dGhlIHNhbXBsZSBub25jZQ=="), out)
        assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", ffi.string(out, 28))
    end)

    it("knows a key: 16 bytes in base64", function()
        assert.is_true(C.rp_ws_is_key(c.str("dGhlIHNhbXBsZSBub25jZQ==")))
        for _, bad in ipairs { "", "x", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ==x",
            "dGhlIHNhbXBsZSBub25jZQAA", "!!!!IHNhbXBsZSBub25jZQ==", ("A"):rep(1000),
            "dGhlIHNhbXBsZSBub25j\0Q==" } do
            assert.is_false(C.rp_ws_is_key(c.str(bad)), bad)
        end
    end)
end)
