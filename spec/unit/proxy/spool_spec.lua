-- SPDX-License-Identifier: MIT
--
-- spool: a body as a queue of bytes, in memory and in a file, from one side's pace to the other's.

local bytes_of = require("spec.support.msg")
local net = require("spec.support.net")

local C, ffi, c = net.C, net.ffi, net.c
c.load { "proxy/spool.h" }

describe("rp_spool", function()
    local env, dir, counts, spill, woken, on_wake, spools

    before_each(function()
        C.rp_log_threshold = C.RP_LOG_alert
        env = net.open()
        dir = net.posix.temp_dir()
        counts = ffi.new("struct rp_spill_counts")
        spill = C.rp_spill_new(env.loop, counts)
        woken, spools = 0, {}
        on_wake = env:callback("void (*)(void *)", function() woken = woken + 1 end)
    end)

    after_each(function()
        for _, sp in ipairs(spools) do C.rp_spool_free(sp) end
        env:until_true(function() return counts.files_active == 0 end)
        assert.equal(0, tonumber(counts.bytes_active))
        C.rp_spill_drop(ffi.new("struct rp_spill *[1]", spill))
        assert.equal(0, tonumber(env.mem.live_bytes))
        assert.equal(0, env.mem.pieces.live_n)
        env:close()
        net.posix.remove_dir(dir)
    end)

    local function open(opt)
        local rule = ffi.new("struct rp_spool_rule", { dir = c.str(opt.dir or dir),
            most = opt.most or 1e9, max = opt.max or 1e9, memory = opt.memory or 1000,
            kept = opt.kept or false })
        env:anchor(rule.dir)
        opt.text = opt.dir or dir
        env:anchor(opt.text)
        local box = ffi.new("struct rp_spool *[1]", C.rp_spool_new(spill, rule, on_wake, nil))
        spools[#spools + 1] = box
        return box[0]
    end

    local function free(sp)
        for _, box in ipairs(spools) do
            if box[0] == sp then C.rp_spool_free(box) end
        end
    end

    local function chain(text)
        return bytes_of.chain(env.mem, text)
    end

    local text = bytes_of.drain

    local function put(sp, bytes)
        C.rp_spool_put(sp, chain(bytes))
    end

    local function push(sp) return c.err_name(C.rp_spool_push(sp)) end

    -- Up to max bytes, and how it went.
    local function get(sp, max)
        local out = chain()
        local e = C.rp_spool_get(sp, out, max or 1e6)
        return text(out), c.err_name(e)
    end

    -- Everything until the end or a failure, waiting for jobs.
    local function rest(sp, max)
        local parts, how = {}, nil
        env:until_true(function()
            repeat
                local part, e = get(sp, max)
                parts[#parts + 1], how = part, e
            until e ~= "OK"
            return how ~= "AGAIN"
        end)
        return table.concat(parts), how
    end

    -- Put all of it, pushing to the file whenever there is no room.
    local function fill(sp, bytes, piece)
        for i = 1, #bytes, piece do
            env:until_true(function()
                if C.rp_spool_has_room(sp) then return true end
                assert.equal("OK", push(sp))
            end)
            put(sp, bytes:sub(i, i + piece - 1))
        end
    end

    local function pattern(n)
        local parts = {}
        for i = 1, math.ceil(n / 10) do parts[i] = ("%09d "):format(i) end
        return table.concat(parts):sub(1, n)
    end

    it("is a queue in memory while it is small", function()
        local sp = open {}
        put(sp, "hello ")
        put(sp, "world")
        assert.same({ "hello", "OK" }, { get(sp, 5) })
        assert.same({ " world", "OK" }, { get(sp) })
        assert.same({ "", "AGAIN" }, { get(sp) })
        put(sp, "!")
        C.rp_spool_end(sp, 2)
        assert.same({ "!", "OK" }, { get(sp) })
        assert.same({ "", "END" }, { get(sp) })
        assert.is_true(C.rp_spool_is_finished(sp))
        assert.equal(12, tonumber(C.rp_spool_bytes(sp)))
        assert.equal(0, tonumber(counts.files))
    end)

    it("goes through the file in order, whatever the pieces", function()
        for _, piece in ipairs { 7, 700, 5000, 70000 } do
            local sp, bytes = open { memory = 4000 }, pattern(300000)
            fill(sp, bytes, piece)
            C.rp_spool_end(sp, 2)
            local got, how = rest(sp, 3333)
            assert.is_true(got == bytes)
            assert.equal("END", how)
            free(sp)
        end
        assert.equal(4, tonumber(counts.files))
    end)

    it("mixes writing and reading as they come", function()
        local sp, bytes = open { memory = 4000 }, pattern(500000)
        local dice, at, got = 12345, 1, {}
        local function roll(n)
            dice = (dice * 1103515245 + 12345) % 2 ^ 31
            return math.floor(dice / 65536) % n
        end
        env:until_true(function()
            for _ = 1, 50 do
                local what = roll(3)
                if what == 0 and at <= #bytes then
                    local n = 1 + roll(6000)
                    put(sp, bytes:sub(at, at + n - 1))
                    at = at + n
                    if at > #bytes then C.rp_spool_end(sp, 2) end
                elseif what == 1 then
                    assert.equal("OK", push(sp))
                else
                    got[#got + 1] = get(sp, 1 + roll(9000))
                end
            end
            return C.rp_spool_is_finished(sp)
        end)
        assert.is_true(table.concat(got) == bytes)
        assert.is_true(counts.bytes > 0)
    end)

    it("tells a failure of its source behind the last byte", function()
        local sp, bytes = open {}, pattern(50000)
        fill(sp, bytes, 1000)
        C.rp_spool_end(sp, c.err("UP_TRUNCATED"))
        local got, how = rest(sp)
        assert.is_true(got == bytes)
        assert.equal("UP_TRUNCATED", how)
        assert.is_false(C.rp_spool_is_finished(sp))
    end)

    it("that is kept can be got again, also in the middle of a read", function()
        for _, n in ipairs { 500, 200000 } do
            local sp, bytes = open { kept = true }, pattern(n)
            fill(sp, bytes, 900)
            C.rp_spool_end(sp, 2)
            env:until_true(function() return C.rp_spool_settle(sp) == 0 end)
            for _ = 1, 2 do assert.is_true(select(1, rest(sp)) == bytes)
                C.rp_spool_rewind(sp)
            end
            get(sp, 300) -- begins to read ahead
            C.rp_spool_rewind(sp)
            assert.is_true(select(1, rest(sp, 777)) == bytes)
            free(sp)
        end
    end)

    it("shares bytes that somebody else keeps", function()
        local mine, sp = chain(pattern(20000)), open { kept = true, memory = 1000 }
        C.rp_spool_share(sp, mine)
        C.rp_spool_end(sp, 2)
        for _ = 1, 2 do
            assert.is_true(select(1, rest(sp, 3000)) == pattern(20000))
            C.rp_spool_rewind(sp)
        end
        assert.is_true(text(mine) == pattern(20000))
        assert.equal(0, tonumber(counts.files))
    end)

    it("holds no more in memory than it may, and no chunk for a few bytes", function()
        local sp = open { memory = 4096 }
        local big = ffi.new("struct rp_chunk *[1]")
        for _ = 1, 100 do -- a byte of a large chunk each
            big[0] = C.rp_chunk_new(env.mem, 65536)
            local ch = chain()
            C.rp_chain_add(ch, big[0], big[0].data, 1)
            C.rp_chunk_drop(big[0])
            C.rp_spool_put(sp, ch)
        end
        assert.is_true(tonumber(env.mem.live_bytes) <= 65536)
        assert.is_true(C.rp_spool_has_room(sp))
        put(sp, ("x"):rep(4000))
        assert.is_false(C.rp_spool_has_room(sp))
    end)

    describe("without room", function()
        it("of its own lets its reader go on", function()
            local sp, bytes = open { max = 5000 }, pattern(9000)
            for i = 1, 9 do
                put(sp, bytes:sub(i * 1000 - 999, i * 1000))
                assert.equal("OK", push(sp))
                env:spin(0.005)
            end
            assert.is_false(C.rp_spool_has_room(sp))
            assert.is_true(counts.bytes_active <= 5000)
            C.rp_spool_end(sp, 2)
            assert.is_true(select(1, rest(sp)) == bytes)
        end)

        it("in the account refuses what is kept, until there is some", function()
            local first = open { kept = true, most = 5000 }
            local second = open { kept = true, most = 5000 }
            put(first, pattern(4000))
            assert.equal("OK", push(first))
            put(second, pattern(2000))
            assert.equal("SPILL_FULL", push(second))
            assert.same({ "", "SPILL_FULL" }, { get(second) })
            env:until_true(function() return counts.bytes == 4000 end)
            free(first)
            env:until_true(function() return counts.files_active == 0 end)
            local third = open { kept = true, most = 5000 }
            put(third, pattern(2000))
            assert.equal("OK", push(third))
            env:until_true(function() return counts.bytes == 6000 end)
        end)
    end)

    describe("on a disk that fails", function()
        it("loses no byte of a queue", function()
            local sp, bytes = open { dir = dir .. "/none" }, pattern(5000)
            put(sp, bytes:sub(1, 2000))
            assert.equal("OK", push(sp))
            env:until_true(function() return counts.failures == 1 end)
            put(sp, bytes:sub(2001))
            assert.equal("OK", push(sp))
            C.rp_spool_end(sp, 2)
            assert.is_true(select(1, rest(sp, 700)) == bytes)
            assert.equal(1, tonumber(counts.failures)) -- it is not tried again
        end)

        it("fails what is kept, and wakes whoever waits", function()
            local sp = open { dir = dir .. "/none", kept = true }
            put(sp, pattern(2000))
            assert.equal("OK", push(sp))
            env:until_true(function() return woken == 1 end)
            assert.equal("SPILL", push(sp))
            assert.equal("SPILL", c.err_name(C.rp_spool_settle(sp)))
        end)
    end)

    it("may be freed while a job writes or reads", function()
        for i = 1, 20 do
            local sp = open { kept = true }
            put(sp, pattern(100000))
            push(sp)
            if i % 2 == 0 then
                C.rp_spool_end(sp, 2)
                env:until_true(function() return C.rp_spool_settle(sp) == 0 end)
                get(sp)
            end
            local before = woken
            free(sp)
            env:spin(0.002)
            assert.equal(before, woken)
        end
        assert.equal(20, tonumber(counts.files))
    end)

    it("outlives its worker's account", function()
        local sp = open {}
        put(sp, pattern(100000))
        push(sp)
        free(sp)
        local box = ffi.new("struct rp_spill *[1]", spill)
        C.rp_spill_drop(box)
        assert.is_true(box[0] == nil)
        env:spin(0.05)
        counts.files_active, counts.bytes_active = 0, 0 -- nobody counts any more
        spill = C.rp_spill_new(env.loop, counts)
    end)
end)
