-- SPDX-License-Identifier: MIT
--
-- ws: WebSocket frames for specs, made and read.
--
--   local ws = require("spec.support.ws")
--   w:send(ws.frame(ws.TEXT, "hello", { mask = true }))
--   local f = ws.read(w)      -- { opcode, fin, rsv, masked, payload, code, reason (of Close) }

local bit = require("bit")

local M = { CONT = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 }

local MASK = "\17\34\51\68"

local function xor(text, mask)
    local out = {}
    for i = 1, #text do
        out[i] = string.char(bit.bxor(text:byte(i), mask:byte((i - 1) % 4 + 1)))
    end
    return table.concat(out)
end

--- One frame. opt: fin (true), rsv (0), mask (false), length (of the payload; it is what the head
--- says).
function M.frame(opcode, payload, opt)
    opt = opt or {}
    local n = opt.length or #payload
    local length, short = "", n
    if n >= 126 then
        short = n < 65536 and 126 or 127
        for shift = n < 65536 and 8 or 56, 0, -8 do
            length = length .. string.char(math.floor(n / 2 ^ shift) % 256)
        end
    end
    local first = (opt.fin == false and 0 or 128) + (opt.rsv or 0) * 16 + opcode
    return string.char(first, short + (opt.mask and 128 or 0)) .. length
        .. (opt.mask and MASK .. xor(payload, MASK) or payload)
end

--- A Close frame.
function M.close(code, reason, opt)
    return M.frame(M.CLOSE, string.char(math.floor(code / 256), code % 256) .. (reason or ""), opt)
end

--- The next frame that comes on a wire.
function M.read(w)
    local first, second = w:recv(2):byte(1, 2)
    local n = second % 128
    if n >= 126 then
        local bytes = w:recv(n == 126 and 2 or 8)
        n = 0
        for i = 1, #bytes do n = n * 256 + bytes:byte(i) end
    end
    local mask = second >= 128 and w:recv(4)
    local payload = w:recv(n)
    local f = { opcode = first % 16, fin = first >= 128, rsv = math.floor(first / 16) % 8,
        masked = mask and true or false, payload = mask and xor(payload, mask) or payload }
    if f.opcode == M.CLOSE and n >= 2 then
        f.code = f.payload:byte(1) * 256 + f.payload:byte(2)
        f.reason = f.payload:sub(3)
    end
    return f
end

return M
