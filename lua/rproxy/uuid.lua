-- SPDX-License-Identifier: MIT
--
-- uuid: RFC 9562. Version 4 is random, version 7 begins with the time and so sorts by it.

local bit = require("bit")

local crypto = require("rproxy.crypto")
local text = require("rproxy.text")
local time = require("rproxy.time")

local M = {}

local function shown(bytes, version)
    local seventh = bit.bor(bit.band(bytes:byte(7), 0x0f), version * 16)
    local ninth = bit.bor(bit.band(bytes:byte(9), 0x3f), 0x80)
    local hex = text.hex(bytes:sub(1, 6) .. string.char(seventh) .. bytes:sub(8, 8)
        .. string.char(ninth) .. bytes:sub(10))
    return ("%s-%s-%s-%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16),
        hex:sub(17, 20), hex:sub(21))
end

--- A random one.
function M.v4()
    return shown(crypto.random(16), 4)
end

--- One that sorts by the millisecond it was made in (within one, in no order).
function M.v7()
    local ms = math.floor(time.time() * 1000)
    local head = {}
    for i = 6, 1, -1 do
        head[i] = string.char(ms % 256)
        ms = math.floor(ms / 256)
    end
    return shown(table.concat(head) .. crypto.random(10), 7)
end

return M
