-- SPDX-License-Identifier: MIT
--
-- gzip: packing and unpacking, whole or piece by piece. What comes out is bounded: a small text may
-- unpack to gigabytes.

local abi = require("rproxy.abi")
local object = require("rproxy.object")

local C, H, E = abi.C, abi.H, abi.E
local raise = object.raise

local M = {}

local MOST = 8 * 2 ^ 20 -- bytes that come out, unless told otherwise; and most that go in at once
local FORMATS = { gzip = true, deflate = false }

local Stream = {}
Stream.__index = Stream

local function words(code)
    if code == E.INVALID then return "invalid" end
    if code == E.TOO_BIG or code == E.CAP then return "too big" end
    if code == E.PHASE then return "ended" end
    return abi.text(code)
end

local function new(what, unpack, opts)
    opts = opts or {}
    local gzip, level, most = FORMATS[opts.format or "gzip"], opts.level or 6, opts.max or MOST
    if gzip == nil then raise('%s: format is "gzip" or "deflate"', what) end
    if type(level) ~= "number" or level % 1 ~= 0 or level < 1 or level > 9 then
        raise("%s: level is a number from 1 to 9", what)
    end
    if type(most) ~= "number" or most < 0 or most ~= most then
        raise("%s: max is a number of bytes", what)
    end
    local pointer = C.rp_abi_gzip_new(unpack, gzip, level, most)
    if pointer == nil then raise("%s: no memory", what) end
    return setmetatable({ abi.gc(pointer, C.rp_abi_gzip_free) }, Stream)
end

--- What the next piece makes.
--- @param piece string  at most 8 MB
--- @param last boolean|nil  nothing follows: a text that is cut off is then "invalid"
--- @return string|nil out, string|nil err  "invalid", "too big", "ended"; the stream is over then
function Stream:write(piece, last)
    if type(piece) ~= "string" then raise("a stream of gzip takes strings") end
    if not self[1] then return nil, "ended" end
    local code = C.rp_abi_gzip_step(H, self[1], piece, #piece, last == true)
    local out = code == 0 and abi.out() or nil
    if code ~= 0 or last then self:close() end
    if not out then return nil, words(code) end
    return out
end

--- Give its memory back now (up to 300 KB), not when the collector comes.
function Stream:close()
    if not self[1] then return end
    C.rp_abi_gzip_free(abi.gc(self[1], nil))
    self[1] = false
end

--- Pack piece by piece.
--- @param opts table|nil  level (6), format ("gzip", "deflate"), max (8 MB, of what comes out)
function M.gzip_stream(opts) return new("rp.gzip_stream", false, opts) end

--- Unpack piece by piece; no memory is taken for more than `max`.
--- @param opts table|nil  format, max
function M.gunzip_stream(opts) return new("rp.gunzip_stream", true, opts) end

--- Pack a text.
--- @return string|nil packed, string|nil err  "too big"
function M.gzip(text, opts)
    if type(text) ~= "string" then raise("rp.gzip takes a string") end
    return new("rp.gzip", false, opts):write(text, true)
end

--- Unpack a text.
--- @return string|nil text, string|nil err  "invalid", "too big"
function M.gunzip(text, opts)
    if type(text) ~= "string" then raise("rp.gunzip takes a string") end
    return new("rp.gunzip", true, opts):write(text, true)
end

return M
