-- SPDX-License-Identifier: MIT
--
-- multipart: bodies of multipart/form-data (RFC 7578), whole or piece by piece.

local abi = require("rproxy.abi")
local object = require("rproxy.object")

local C, H, E = abi.C, abi.H, abi.E
local raise = object.raise

local M = {}

local PART, DATA, END = 0, 1, 2 -- enum rp_multipart_event
local PARTS_MOST = 100
local PIECE = 2 ^ 20 -- bytes handed to C at once

local Reader = {}
Reader.__index = Reader

local function words(code)
    if code == E.INVALID then return "invalid" end
    if code == E.CAP then return "too many" end
    if code == E.TOO_BIG then return "too big" end
    return abi.text(code)
end

local function check_most(what, value)
    if type(value) ~= "number" or value % 1 ~= 0 or value < 1 or value > 1e9 then
        raise("%s is a whole number from 1", what)
    end
    return value
end

--- Read piece by piece.
--- @param content_type string  the request's Content-Type
--- @param opts table|nil  parts (100): the most there may be
--- @return table|nil reader, string|nil err  "invalid": not multipart/form-data with a boundary
function M.reader(content_type, opts)
    if type(content_type) ~= "string" then raise("form.reader takes a Content-Type") end
    local parts = check_most("parts", opts and opts.parts or PARTS_MOST)
    local pointer = C.rp_abi_multipart_new(content_type, #content_type, parts)
    if pointer == nil then return nil, "invalid" end
    return setmetatable({ abi.gc(pointer, C.rp_abi_multipart_free), done = false }, Reader)
end

local function part_of(pointer)
    local part = { name = abi.out() }
    if H.out2.ptr ~= nil then part.filename = abi.string(H.out2.ptr, H.out2.len) end
    C.rp_abi_multipart_type(H, pointer)
    if H.out.len > 0 then part.type = abi.out() end
    return part
end

local function events(self, on)
    local pointer = self[1]
    while true do
        local code = C.rp_abi_multipart_next(H, pointer)
        if code == abi.AGAIN or code == abi.END then return true end
        if code ~= 0 then return nil, words(code) end
        local event = H.number
        if event == PART then
            self.part = part_of(pointer)
            if on.part then on.part(self.part) end
        elseif event == DATA then
            if on.data then on.data(abi.out(), self.part) end
        elseif event == END then
            if on.done then on.done(self.part) end
        else
            self.done = true
        end
    end
end

--- The next bytes of the body.
--- @param piece string
--- @param on table  part(part): a part begins ({ name, filename, type }); data(bytes, part);
---   done(part): it is whole
--- @return true|nil ok, string|nil err  "invalid", "too many" (parts), "too big" (a part's header)
function Reader:feed(piece, on)
    if type(piece) ~= "string" then raise("reader:feed takes strings") end
    for from = 1, math.max(#piece, 1), PIECE do
        local some = #piece <= PIECE and piece or piece:sub(from, from + PIECE - 1)
        local code = C.rp_abi_multipart_feed(self[1], some, #some)
        if code ~= 0 then return nil, words(code) end
        local ok, err = events(self, on)
        if not ok then return nil, err end
    end
    return true
end

--- Nothing follows.
--- @return true|nil ok, string|nil err  "invalid": it was cut off
function Reader:finish()
    if self.done then return true end
    return nil, "invalid"
end

--- All parts of a body.
--- @param body string
--- @param content_type string
--- @param opts table|nil  parts (100)
--- @return table[]|nil parts, string|nil err  { name, filename, type, body }; "invalid",
---   "too many", "too big"
function M.parts(body, content_type, opts)
    local reader, err = M.reader(content_type, opts)
    if not reader then return nil, err end
    local parts, pieces = {}, nil
    local ok
    ok, err = reader:feed(body, {
        part = function(part) pieces = {} parts[#parts + 1] = part end,
        data = function(bytes) pieces[#pieces + 1] = bytes end,
        done = function(part) part.body = table.concat(pieces) end,
    })
    if not ok then return nil, err end
    ok, err = reader:finish()
    if not ok then return nil, err end
    return parts
end

return M
