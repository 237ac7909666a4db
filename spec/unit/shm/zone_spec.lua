-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local posix = require("spec.support.posix")
local support = require("spec.unit.base.support")
local C = c.load { "shm/zone.h" }
local ffi, s = c.ffi, c.str

ffi.cdef [[
int memfd_create(const char *name, unsigned flags); int ftruncate(int fd, long n);
int dup(int fd); int fcntl(int fd, int cmd, ...); long pwrite(int, const void *, size_t, long);
]]
local L = ffi.C
local F_GETFD, F_ADD_SEALS, F_GET_SEALS = 1, 1033, 1034
local SEAL_SEAL, SEAL_SHRINK, SEAL_GROW = 1, 2, 4

local function box_of(z)
    return ffi.new("struct rp_zone *[1]", z)
end

local function new_zone(name, bytes)
    local out = box_of(nil)
    local e = C.rp_zone_new(s(name), bytes, out)
    if e ~= 0 then return nil, c.err_name(e) end
    return ffi.gc(out[0], function(z)
        C.rp_zone_free(box_of(z))
    end)
end

local function adopt(fd)
    local out = box_of(nil)
    local e = C.rp_zone_adopt(fd, out)
    if e ~= 0 then return nil, c.err_name(e) end
    return ffi.gc(out[0], function(z)
        C.rp_zone_free(box_of(z))
    end)
end

local function part(z, name, bytes)
    local ptr, fresh = ffi.new("void *[1]"), ffi.new("bool[1]")
    local e = C.rp_zone_part(z, s(name), bytes, ptr, fresh)
    if e ~= 0 then return nil, c.err_name(e) end
    return ffi.cast("uint8_t *", ptr[0]), fresh[0]
end

local function int(n)
    return ffi.cast("int", n)
end

describe("rp_zone_new", function()
    it("makes a named, zeroed zone with at least the room asked for", function()
        for _, bytes in ipairs { 0, 1, 4096, 100000 } do
            local z = new_zone("stats", bytes)
            assert.equal("stats", c.lua(C.rp_zone_name(z)))
            assert.is_true(tonumber(C.rp_zone_left(z)) >= bytes)
            assert.equal(0, tonumber(z.bytes) % 4096)
            assert.is_true(tonumber(z.bytes) - bytes < 2 * 4096)
            local all = ffi.cast("uint8_t *", z.head) + C.RP_ZONE_HEAD_BYTES
            for i = 0, tonumber(z.bytes) - C.RP_ZONE_HEAD_BYTES - 1 do
                if all[i] ~= 0 then error("not zero") end
            end
        end
    end)

    it("refuses bad names and absurd sizes", function()
        for _, name in ipairs { "", "a\0b", ("x"):rep(C.RP_ZONE_NAME_BYTES) } do
            assert.same({ nil, "INVALID" }, { new_zone(name, 10) })
        end
        assert.is_truthy(new_zone(("x"):rep(C.RP_ZONE_NAME_BYTES - 1), 10))
        assert.same({ nil, "TOO_BIG" }, { new_zone("a", 2 ^ 50) })
        assert.same({ nil, "TOO_BIG" }, { new_zone("a", 0xffffffffffffffffULL) })
    end)

    it("seals its size and is closed on exec", function()
        local z = new_zone("a", 4096)
        assert.equal(-1, L.ftruncate(z.fd, 4096))
        assert.equal(-1, L.ftruncate(z.fd, 1048576))
        assert.equal(SEAL_SEAL + SEAL_SHRINK + SEAL_GROW, L.fcntl(z.fd, F_GET_SEALS))
        assert.equal(1, L.fcntl(z.fd, F_GETFD))
    end)

    it("closes and unmaps at its end", function()
        local out = box_of(nil)
        assert.equal(0, C.rp_zone_new(s "gone", 4096, out))
        local fd = out[0].fd
        C.rp_zone_free(out)
        assert.is_true(out[0] == nil)
        assert.equal(-1, L.fcntl(fd, F_GETFD))
        assert.is_falsy(posix.read_file("/proc/self/maps"):find("memfd:gone", 1, true))
        C.rp_zone_free(out)
    end)
end)

describe("a zone across fork", function()
    it("is one memory at one address, both ways", function()
        local z = new_zone("a", 4096)
        local p = part(z, "numbers", 64)
        local address = tonumber(ffi.cast("uintptr_t", p))
        p[0] = 1
        assert.same({ exit = 0 }, support.in_child(function()
            local q = ffi.cast("uint8_t *", address)
            if q[0] ~= 1 then return 1 end
            q[1] = 2
            return 0
        end))
        assert.equal(2, p[1])
    end)

    it("survives a process that frees its view", function()
        local z = new_zone("a", 4096)
        local p = part(z, "numbers", 64)
        support.in_child(function()
            p[0] = 9
            C.rp_zone_free(box_of(z))
        end)
        assert.equal(9, p[0])
        p[1] = 1
    end)
end)

-- VmFlags of the mapping at that address: words of two letters.
local function flags_of(address)
    local from = ("^%x%%-"):format(tonumber(ffi.cast("uintptr_t", address)))
    local here = false
    for line in io.lines("/proc/self/smaps") do
        if line:find("^%x+%-%x+ ") then here = line:find(from) ~= nil end
        if here and line:find("^VmFlags:") then return line .. " " end
    end
end

describe("rp_zone_wish_huge", function()
    it("asks for huge pages where a zone is large", function()
        if not posix.exists("/sys/kernel/mm/transparent_hugepage") then return end
        for bytes, wanted in pairs { [4 * 2 ^ 20] = true, [2 ^ 20] = false } do
            local z = new_zone("a", bytes)
            C.rp_zone_wish_huge(z)
            assert.equal(wanted, flags_of(z.head):find(" hg ", 1, true) ~= nil)
        end
    end)
end)

describe("rp_zone_part", function()
    it("gives each name its own aligned, zeroed bytes", function()
        local z = new_zone("a", 4096)
        local a, fresh_a = part(z, "a", 1)
        local b, fresh_b = part(z, "b", 65)
        local d = part(z, "d", 10)
        assert.is_true(fresh_a and fresh_b)
        for _, p in ipairs { a, b, d } do
            assert.equal(0, tonumber(ffi.cast("uintptr_t", p)) % 64)
            assert.equal(0, p[0])
        end
        assert.equal(64, tonumber(b - a))
        assert.equal(128, tonumber(d - b))
        assert.equal(4096 - 256, tonumber(C.rp_zone_left(z)))
    end)

    it("finds a part again and checks its size", function()
        local z = new_zone("a", 4096)
        local a = part(z, "a", 100)
        a[99] = 5
        local again, fresh = part(z, "a", 100)
        assert.is_false(fresh)
        assert.equal(5, again[99])
        assert.is_true(again == a)
        assert.same({ nil, "INVALID" }, { part(z, "a", 101) })
        assert.same({ nil, "INVALID" }, { part(z, "", 10) })
        assert.same({ nil, "INVALID" }, { part(z, "b", 0) })
        assert.same({ nil, "INVALID" }, { part(z, ("x"):rep(C.RP_ZONE_NAME_BYTES), 1) })
    end)

    it("uses the room to its end and no further", function()
        local z = new_zone("a", 4096)
        assert.same({ nil, "CAP" }, { part(z, "a", 4097) })
        local p = part(z, "a", 4096)
        p[4095] = 1
        assert.equal(0, tonumber(C.rp_zone_left(z)))
        assert.same({ nil, "CAP" }, { part(z, "b", 1) })
        assert.same({ nil, "CAP" }, { part(z, "b", 0xffffffffffffffffULL) })
    end)

    it("has room for so many parts", function()
        local z = new_zone("a", 65536)
        for i = 1, C.RP_ZONE_PARTS_MAX do
            assert.is_truthy(part(z, "part" .. i, 64))
        end
        assert.same({ nil, "CAP" }, { part(z, "more", 64) })
        assert.equal(0, tonumber(C.rp_zone_left(z)))
        assert.is_truthy(part(z, "part7", 64))
    end)

    it("does not follow offsets that a wild process wrote", function()
        local z = new_zone("a", 4096)
        part(z, "a", 64)
        for _, at in ipairs { 0, 64, 8192, 8130, 4097, 0xffffffffffffffc0ULL } do
            z.head.parts[0].at = at
            assert.same({ nil, "INVALID" }, { part(z, "a", 64) })
        end
        z.head.used = 0xffffffffffffff00ULL
        assert.equal(0, tonumber(C.rp_zone_left(z)))
        assert.same({ nil, "CAP" }, { part(z, "b", 64) })
        z.head.part_n = 0xffffffff
        assert.same({ nil, "CAP" }, { part(z, "b", 64) })
    end)
end)

describe("rp_zone_adopt", function()
    it("finds names and bytes of a zone that another process made", function()
        local z = new_zone("cache", 10000)
        local p = part(z, "index", 200)
        p[7] = 77
        local other = adopt(L.dup(z.fd))
        assert.equal("cache", c.lua(C.rp_zone_name(other)))
        local q, fresh = part(other, "index", 200)
        assert.is_false(fresh)
        assert.equal(77, q[7])
        assert.is_true(p ~= q)
        q[8] = 88
        assert.equal(88, p[8])
        assert.equal(tonumber(C.rp_zone_left(z)), tonumber(C.rp_zone_left(other)))
    end)

    -- A memfd with the first bytes of a zone, then `change`, then the seals.
    local function fake(change, bytes, seals)
        local z = new_zone("a", 4096)
        local head = ffi.new("struct rp_zone_head[1]")
        ffi.copy(head, z.head, ffi.sizeof("struct rp_zone_head"))
        change(head[0])
        local fd = L.memfd_create("fake", 2 + 1) -- MFD_ALLOW_SEALING | MFD_CLOEXEC
        assert.equal(0, L.ftruncate(fd, bytes or z.bytes))
        L.pwrite(fd, head, math.min(bytes or 8192, ffi.sizeof("struct rp_zone_head")), 0)
        L.fcntl(fd, F_ADD_SEALS, int(seals or SEAL_SEAL + SEAL_SHRINK + SEAL_GROW))
        return fd
    end
    local function same() end

    local function refused(fd)
        local z, e = adopt(fd)
        assert.is_nil(z)
        assert.equal("INVALID", e)
        assert.equal(1, L.fcntl(fd, F_GETFD)) -- still open: still the caller's
        posix.C.close(fd)
    end

    it("takes an exact copy", function()
        assert.is_truthy(adopt(fake(same)))
    end)

    it("refuses what is not a zone of this version", function()
        refused(fake(function(head) head.magic = 1 end))
        refused(fake(function(head) head.version = head.version + 1 end))
        refused(fake(function(head) head.bytes = head.bytes + 1 end))
        refused(fake(function(head) head.used = head.bytes + 1 end))
        refused(fake(function(head) head.used = 0 end))
        refused(fake(function(head) head.part_n = 33 end))
    end)

    it("refuses a file whose size disagrees, or is too small for a head", function()
        refused(fake(same, 4096))
        refused(fake(same, 12288))
        refused(fake(same, 100))
        refused(fake(same, 0))
    end)

    it("refuses a file that could shrink under us", function()
        refused(fake(same, nil, SEAL_SHRINK))
        refused(fake(same, nil, SEAL_GROW + SEAL_SEAL))
    end)

    it("refuses other files and bad descriptors", function()
        local fd = posix.C.open("/dev/null", 0x80000)
        refused(fd)
        refused(posix.C.open("/proc/self/exe", 0x80000))
        assert.same({ nil, "OS" }, { adopt(-1) })
    end)
end)
