-- SPDX-License-Identifier: MIT
--
-- tokens: find perfect hashes for the names of runtime/http/token.tbl.
--
--   luajit tools/tokens.lua > runtime/http/token_hash.h      after every change of token.tbl
--
-- The hash of a name: its last four bytes, those of "\r\n" before a shorter one, in lower case,
-- mixed with its length (of 16 bytes and more: and with the first four), times an odd constant; the
-- top bits are the slot. The search is seeded, so the same table gives the same file. token.c has
-- the same hash in C.

local bit = require("bit")
local ffi = require("ffi")

local M = {}

local HEADER_BITS, METHOD_BITS = 8, 6
local MOST_TRIES = 10 * 1000 * 1000

--- The rows of one kind ("F" or "M") in order: a list of names.
function M.rows(path, kind)
    local names = {}
    for line in io.lines(path) do
        local name = line:match("^" .. kind .. '%([%u%d_]+, "([^"]+)", %w+%)')
        if name then names[#names + 1] = name end
    end
    return names
end

-- Four bytes from `from` on, in lower case as the C code makes it.
local function word(s, from)
    local a, b, c, d = s:byte(from, from + 3)
    return bit.bor(a, bit.lshift(b, 8), bit.lshift(c, 16), bit.lshift(d, 24), 0x20202020)
end

local function mixed(name)
    local n = #name
    assert(n >= 2 and n < 32, name)
    local line = "\r\n" .. name
    local key = bit.bxor(word(line, #line - 3), n)
    return n < 16 and key or bit.bxor(key, word(name, 1))
end

-- xorshift64: LuaJIT's math.random is seeded by nothing we control across versions.
local function dice(seed)
    local x = ffi.new("uint64_t", seed)
    return function()
        x = bit.bxor(x, bit.lshift(x, 13))
        x = bit.bxor(x, bit.rshift(x, 7))
        x = bit.bxor(x, bit.lshift(x, 17))
        return x
    end
end

local function try(keys, multiplier, bits)
    local slots = {}
    for id, key in ipairs(keys) do
        local product = ffi.cast("uint32_t", ffi.cast("uint32_t", key) * multiplier)
        local slot = bit.rshift(tonumber(product), 32 - bits)
        if slots[slot] then return nil end
        slots[slot] = id
    end
    return slots
end

--- A multiplier without collisions and its slots (slot -> index of the name).
function M.search(names, bits)
    local keys, roll = {}, dice(0x9e3779b97f4a7c15ULL)
    for i, name in ipairs(names) do
        keys[i] = mixed(name)
    end
    for _ = 1, MOST_TRIES do
        local multiplier = ffi.cast("uint32_t", bit.bor(roll(), 1))
        local slots = try(keys, multiplier, bits)
        if slots then return multiplier, slots end
    end
    error("no perfect hash found: raise the number of bits")
end

local function emit(out, what, names, bits)
    local multiplier, slots = M.search(names, bits)
    local hex = bit.tohex(tonumber(multiplier))
    out[#out + 1] = ("#define TOKEN_%sS_N %d"):format(what, #names)
    out[#out + 1] = ("#define TOKEN_%s_BITS %d"):format(what, bits)
    out[#out + 1] = ("#define TOKEN_%s_MUL UINT32_C(0x%s)"):format(what, hex)
    out[#out + 1] = ("#define TOKEN_%s_SLOTS \\"):format(what)
    for base = 0, 2 ^ bits - 1, 16 do
        local row = {}
        for i = 0, 15 do
            row[#row + 1] = ("%d,"):format(slots[base + i] or 0)
        end
        out[#out + 1] = "    " .. table.concat(row, " ") .. (base + 16 < 2 ^ bits and " \\" or "")
    end
end

--- The text of token_hash.h.
function M.generate(path)
    local out = {
        "/* SPDX-License-Identifier: MIT",
        " *",
        " * token_hash: perfect hashes of token.tbl, written by tools/tokens.lua; do not edit.",
        " */",
        "#ifndef RP_HTTP_TOKEN_HASH_H",
        "#define RP_HTTP_TOKEN_HASH_H",
    }
    emit(out, "HEADER", M.rows(path, "F"), HEADER_BITS)
    emit(out, "METHOD", M.rows(path, "M"), METHOD_BITS)
    out[#out + 1] = "#endif"
    return table.concat(out, "\n") .. "\n"
end

if not ... then io.write(M.generate("runtime/http/token.tbl")) end

return M
