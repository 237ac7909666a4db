-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local support = require("spec.unit.base.support")
local C = c.load { "base/chain.h" }
local ffi, s = c.ffi, c.str

ffi.cdef [[
struct iovec { void *base; size_t len; };
int rp_chain_iov(const struct rp_chain *c, struct iovec *iov, int n);
]]

local SMALL, LARGE = 16 * 1024, 64 * 1024
local mem

local function new_chain()
    local chain = ffi.new("struct rp_chain")
    C.rp_chain_init(chain, mem)
    return chain
end

-- A chunk holding text; refs = 1 is the caller's.
local function new_chunk(text, room)
    local chunk = C.rp_chunk_new(mem, room or #text)
    ffi.copy(chunk.data, text, #text)
    chunk.used = #text
    return chunk
end

-- The pieces as texts; checks the chain's invariants on the way.
local function pieces(chain)
    local out, sum, last = {}, 0, nil
    local p = chain.head
    while p ~= nil do
        assert.is_true(p.len > 0)
        out[#out + 1] = ffi.string(p.ptr, p.len)
        sum = sum + tonumber(p.len)
        last = p
        p = p.next
    end
    assert.equal(sum, tonumber(chain.bytes))
    assert.is_true(chain.tail == last)
    return out
end

local function text_of(chain)
    local n = tonumber(chain.bytes)
    local buf = ffi.new("char[?]", n + 1)
    C.rp_chain_peek(chain, buf, n)
    local text = ffi.string(buf, n)
    assert.equal(text, table.concat(pieces(chain)))
    return text
end

local function add_const(chain, view)
    C.rp_chain_add_const(chain, view)
    return view
end

before_each(function()
    mem = C.rp_mem_new()
end)

-- Whatever a spec does, all chunks and pieces must have come back at its end.
after_each(function()
    assert.equal(0, tonumber(mem.live_bytes))
    assert.equal(0, mem.pieces.live_n)
    local box = ffi.new("struct rp_mem *[1]", mem)
    C.rp_mem_free(box)
end)

describe("rp_chunk", function()
    it("has one of two pooled sizes, or the size asked for beyond them", function()
        for _, row in ipairs { { 0, SMALL }, { 1, SMALL }, { SMALL, SMALL }, { SMALL + 1, LARGE },
            { LARGE, LARGE }, { LARGE + 1, LARGE + 1 }, { 1000000, 1000000 } } do
            local chunk = C.rp_chunk_new(mem, row[1])
            assert.equal(row[2], chunk.room)
            assert.equal(1, chunk.refs)
            assert.equal(0, chunk.used)
            assert.equal(row[2], tonumber(mem.live_bytes))
            ffi.fill(chunk.data, chunk.room, 1)
            C.rp_chunk_drop(chunk)
            assert.equal(0, tonumber(mem.live_bytes))
        end
    end)

    it("is reused newest first; the free lists keep no more than they may", function()
        if support.DEBUG then return end
        mem.keep_small_n = 2
        local list = {}
        for i = 1, 4 do
            list[i] = C.rp_chunk_new(mem, 1)
        end
        for i = 1, 4 do
            C.rp_chunk_drop(list[i])
        end
        assert.equal(2, mem.free_small_n)
        assert.equal(0, mem.free_large_n)
        local again = C.rp_chunk_new(mem, 1)
        assert.is_true(again == list[2])
        assert.equal(1, mem.free_small_n)
        C.rp_chunk_drop(again)
    end)

    it("takes NULL, and refuses a drop too many", function()
        C.rp_chunk_drop(nil)
        if support.DEBUG then return end -- there the sanitizer ends the process
        assert.is_true(support.aborts(function()
            local chunk = C.rp_chunk_new(mem, 1)
            C.rp_chunk_drop(chunk)
            C.rp_chunk_drop(chunk)
        end))
    end)
end)

describe("rp_chain_give", function()
    it("takes the caller's hold over, also for no bytes", function()
        local chain, chunk = new_chain(), new_chunk("hello world")
        C.rp_chain_give(chain, chunk, chunk.data, 5)
        assert.equal(1, chunk.refs)
        assert.equal("hello", text_of(chain))
        C.rp_chain_consume(chain, 5)
        assert.equal(0, tonumber(mem.live_bytes))
        chunk = new_chunk("x")
        C.rp_chain_give(chain, chunk, chunk.data, 0)
        assert.equal(0, tonumber(chain.bytes))
        assert.equal(0, tonumber(mem.live_bytes))
    end)
end)

describe("rp_chain_add", function()
    it("holds the chunk as long as a slice of it is queued", function()
        local chain, chunk = new_chain(), new_chunk("hello world")
        C.rp_chain_add(chain, chunk, chunk.data, 5)
        assert.equal(2, chunk.refs)
        C.rp_chunk_drop(chunk)
        assert.equal("hello", text_of(chain))
        assert.equal(SMALL, tonumber(mem.live_bytes))
        C.rp_chain_consume(chain, 5)
        assert.equal(0, tonumber(mem.live_bytes))
        assert.same({}, pieces(chain))
    end)

    it("merges with the tail only when adjacent in the same chunk", function()
        local chain, a, b = new_chain(), new_chunk("abcdef"), new_chunk("ghi")
        C.rp_chain_add(chain, a, a.data, 2)
        C.rp_chain_add(chain, a, a.data + 2, 1)
        assert.same({ "abc" }, pieces(chain))
        assert.equal(2, a.refs)
        C.rp_chain_add(chain, a, a.data + 4, 2)
        assert.same({ "abc", "ef" }, pieces(chain))
        assert.equal(3, a.refs)
        C.rp_chain_add(chain, b, b.data, 3)
        C.rp_chain_add(chain, a, a.data, 1)
        assert.same({ "abc", "ef", "ghi", "a" }, pieces(chain))
        C.rp_chain_clear(chain)
        assert.equal(1, a.refs)
        assert.equal(1, b.refs)
        C.rp_chunk_drop(a)
        C.rp_chunk_drop(b)
    end)

    it("ignores empty slices", function()
        local chain, a = new_chain(), new_chunk("abc")
        C.rp_chain_add(chain, a, a.data, 0)
        C.rp_chain_add_const(chain, s "")
        C.rp_chain_add_const(chain, ffi.new("rp_str"))
        C.rp_chain_add_copy(chain, s "")
        C.rp_chain_add_copy(chain, ffi.new("rp_str"))
        assert.same({}, pieces(chain))
        assert.equal(1, a.refs)
        C.rp_chunk_drop(a)
    end)
end)

describe("rp_chain_add_copy", function()
    it("shares the tail chunk's spare room", function()
        local chain = new_chain()
        for i = 1, 100 do
            C.rp_chain_add_copy(chain, s("piece " .. i .. ";"))
        end
        assert.equal(1, #pieces(chain))
        assert.equal(SMALL, tonumber(mem.live_bytes))
        assert.is_truthy(text_of(chain):find("^piece 1;piece 2;.*piece 100;$"))
        C.rp_chain_clear(chain)
    end)

    it("fills a chunk to its end, then takes the next", function()
        local chain, text = new_chain(), ("0123456789"):rep(1700)
        C.rp_chain_add_copy(chain, s(text:sub(1, SMALL - 3)))
        C.rp_chain_add_copy(chain, s(text:sub(SMALL - 2, SMALL + 10)))
        assert.equal(text:sub(1, SMALL + 10), text_of(chain))
        assert.same({ SMALL, 10 }, { #pieces(chain)[1], #pieces(chain)[2] })
        C.rp_chain_clear(chain)
    end)

    it("does not write into a chunk that another holds", function()
        local chain, chunk = new_chain(), new_chunk("abc")
        C.rp_chain_add(chain, chunk, chunk.data, 3)
        C.rp_chain_add_copy(chain, s "def")
        assert.same({ "abc", "def" }, pieces(chain))
        assert.equal(3, chunk.used)
        C.rp_chunk_drop(chunk)
        C.rp_chain_clear(chain)
    end)

    it("does not write over bytes between the tail's end and the writer's mark", function()
        local chain, chunk = new_chain(), new_chunk("abcdef")
        C.rp_chain_add(chain, chunk, chunk.data, 3)
        C.rp_chunk_drop(chunk)
        C.rp_chain_add_copy(chain, s "xyz")
        assert.same({ "abc", "xyz" }, pieces(chain))
        C.rp_chain_clear(chain)
    end)

    it("cuts long texts into chunks of standard size", function()
        local chain, text = new_chain(), ("abcdefg"):rep(30000)
        C.rp_chain_add_copy(chain, s(text))
        assert.equal(text, text_of(chain))
        for _, piece in ipairs(pieces(chain)) do
            assert.is_true(#piece <= LARGE)
        end
        C.rp_chain_clear(chain)
    end)

    it("follows a constant piece with a chunk of its own", function()
        local chain = new_chain()
        local kept = add_const(chain, s "HTTP/1.1 ")
        C.rp_chain_add_copy(chain, s "200 OK")
        assert.equal("HTTP/1.1 200 OK", text_of(chain))
        assert.is_not_nil(kept)
        C.rp_chain_clear(chain)
    end)
end)

describe("rp_chain_consume", function()
    it("stops inside, at and beyond piece borders", function()
        local text = "abcdefghij"
        for n = 0, #text do
            local chain, a = new_chain(), new_chunk(text)
            C.rp_chain_add(chain, a, a.data, 3)
            C.rp_chain_add(chain, a, a.data + 4, 3)
            local kept = add_const(chain, s "XYZ")
            local whole = "abcefgXYZ"
            if n <= #whole then
                C.rp_chain_consume(chain, n)
                assert.equal(whole:sub(n + 1), text_of(chain))
            end
            assert.is_not_nil(kept)
            C.rp_chain_clear(chain)
            C.rp_chunk_drop(a)
        end
    end)

    it("refuses to drop, or show, more than is there", function()
        local chain = new_chain()
        local kept = add_const(chain, s "abc")
        assert.is_true(support.aborts(function()
            C.rp_chain_consume(chain, 4)
        end))
        assert.is_true(support.aborts(function()
            C.rp_chain_peek(chain, ffi.new("char[8]"), 4)
        end))
        assert.is_not_nil(kept)
        C.rp_chain_clear(chain)
    end)
end)

describe("rp_chain_move", function()
    it("hands a whole queue to an empty one, and both can be used on", function()
        local from, to = new_chain(), new_chain()
        for _, word in ipairs { "a", "b", "c" } do
            add_const(from, s(word))
        end
        assert.equal(3, tonumber(C.rp_chain_move(to, from, 3)))
        assert.equal(0, tonumber(from.bytes))
        add_const(to, s("d"))
        add_const(from, s("e"))
        assert.equal("abcd", text_of(to))
        assert.equal("e", text_of(from))
        C.rp_chain_clear(to)
        C.rp_chain_clear(from)
        assert.equal(0, tonumber(mem.live_bytes))
    end)

    -- src: pieces of 3 chunk bytes, 4 constant bytes, 5 chunk bytes
    local function source()
        local chain, chunk = new_chain(), new_chunk("abc.efghi")
        C.rp_chain_add(chain, chunk, chunk.data, 3)
        local kept = add_const(chain, s "1234")
        C.rp_chain_add(chain, chunk, chunk.data + 4, 5)
        C.rp_chunk_drop(chunk)
        return chain, kept
    end

    it("splits pieces wherever max falls and loses nothing", function()
        local whole = "abc1234efghi"
        for n = 0, #whole + 2 do
            local src, kept = source()
            local dst = new_chain()
            C.rp_chain_add_copy(dst, s ">")
            local moved = tonumber(C.rp_chain_move(dst, src, n))
            assert.equal(math.min(n, #whole), moved)
            assert.equal(">" .. whole:sub(1, n), text_of(dst))
            assert.equal(whole:sub(n + 1), text_of(src))
            C.rp_chain_clear(src)
            assert.equal(">" .. whole:sub(1, n), text_of(dst))
            assert.is_not_nil(kept)
            C.rp_chain_clear(dst)
        end
    end)

    it("joins adjacent halves again", function()
        local src, dst, chunk = new_chain(), new_chain(), new_chunk("abcdef")
        C.rp_chain_add(src, chunk, chunk.data, 6)
        C.rp_chunk_drop(chunk)
        assert.equal(2, tonumber(C.rp_chain_move(dst, src, 2)))
        assert.equal(2, chunk.refs)
        assert.equal(1, tonumber(C.rp_chain_move(dst, src, 1)))
        assert.equal(3, tonumber(C.rp_chain_move(dst, src, 1000)))
        assert.same({ "abcdef" }, pieces(dst))
        assert.equal(1, chunk.refs)
        assert.equal(1, mem.pieces.live_n)
        C.rp_chain_clear(dst)
    end)

    it("moves everything for any huge max, and nothing from an empty chain", function()
        local src, kept = source()
        local dst = new_chain()
        assert.equal(12, tonumber(C.rp_chain_move(dst, src, 0xffffffffffffffffULL)))
        assert.equal(0, tonumber(C.rp_chain_move(dst, src, 5)))
        assert.same({ "abc", "1234", "efghi" }, pieces(dst))
        assert.same({}, pieces(src))
        assert.is_not_nil(kept)
        C.rp_chain_clear(dst)
    end)
end)

describe("rp_chain_iov", function()
    it("shows the front pieces, at most as many as asked", function()
        local chain, chunk = new_chain(), new_chunk("abcdef")
        C.rp_chain_add(chain, chunk, chunk.data, 2)
        C.rp_chain_add(chain, chunk, chunk.data + 3, 3)
        C.rp_chunk_drop(chunk)
        local iov = ffi.new("struct iovec[4]")
        assert.equal(2, C.rp_chain_iov(chain, iov, 4))
        assert.equal("ab", ffi.string(iov[0].base, iov[0].len))
        assert.equal("def", ffi.string(iov[1].base, iov[1].len))
        assert.equal(1, C.rp_chain_iov(chain, iov, 1))
        assert.equal(0, C.rp_chain_iov(chain, iov, 0))
        C.rp_chain_clear(chain)
        assert.equal(0, C.rp_chain_iov(chain, iov, 4))
    end)
end)

describe("a chain under random use", function()
    it("behaves like a string", function()
        math.randomseed(42)
        local letters = {}
        for i = 1, 40000 do
            letters[i] = string.char(math.random(33, 126))
        end
        local stock = table.concat(letters)
        local view = s(stock)
        local a, b = new_chain(), new_chain()
        local text = { a = "", b = "" }
        for _ = 1, 3000 do
            local dice, n = math.random(6), math.random(200)
            local at = math.random(#stock - 40000 / 2)
            local part = stock:sub(at, at + n - 1)
            if dice == 1 then
                C.rp_chain_add_copy(a, s(part))
                text.a = text.a .. part
            elseif dice == 2 then
                C.rp_chain_add_const(a, ffi.new("rp_str", view.ptr + at - 1, n))
                text.a = text.a .. part
            elseif dice == 3 then
                local chunk = new_chunk(part, n)
                local cut = math.random(0, n)
                C.rp_chain_add(a, chunk, chunk.data, cut)
                C.rp_chain_add(a, chunk, chunk.data + cut, n - cut)
                C.rp_chunk_drop(chunk)
                text.a = text.a .. part
            elseif dice == 4 then
                C.rp_chain_move(b, a, n * 3)
                text.b = text.b .. text.a:sub(1, n * 3)
                text.a = text.a:sub(n * 3 + 1)
            elseif dice == 5 then
                n = math.min(n, #text.b)
                C.rp_chain_consume(b, n)
                text.b = text.b:sub(n + 1)
            else
                n = math.min(n, #text.a)
                C.rp_chain_consume(a, n)
                text.a = text.a:sub(n + 1)
            end
            if #text.a ~= tonumber(a.bytes) or #text.b ~= tonumber(b.bytes) then
                error("lengths differ")
            end
        end
        assert.is_true(#text.a + #text.b > 0)
        assert.equal(text.a, text_of(a))
        assert.equal(text.b, text_of(b))
        C.rp_chain_clear(a)
        C.rp_chain_clear(b)
    end)
end)
