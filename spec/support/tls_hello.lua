-- SPDX-License-Identifier: MIT
--
-- tls_hello: ClientHello messages, right and wrong ones.
--
--   hello.make { sni = "a.example", alpn = { "h2" }, record = 100 }   -- bytes on the wire
-- further: extensions (raw ones, added), bare (no extensions), version, session, ciphers,
-- compressions, tail (bytes behind the extensions)

local M = {}

function M.u16(n) return string.char(math.floor(n / 256), n % 256) end

local function u24(n) return string.char(math.floor(n / 65536)) .. M.u16(n % 65536) end

local function vector8(s) return string.char(#s) .. s end
local function vector16(s) return M.u16(#s) .. s end

function M.extension(type, data) return M.u16(type) .. vector16(data) end

function M.sni(name) return M.extension(0, vector16("\0" .. vector16(name))) end

function M.alpn(names)
    local list = {}
    for i, name in ipairs(names) do list[i] = vector8(name) end
    return M.extension(16, vector16(table.concat(list)))
end

function M.make(what)
    local extensions = { M.extension(43, "\2\3\4") }
    if what.sni then extensions[#extensions + 1] = M.sni(what.sni) end
    if what.alpn then extensions[#extensions + 1] = M.alpn(what.alpn) end
    for _, raw in ipairs(what.extensions or {}) do extensions[#extensions + 1] = raw end
    local body = (what.version or "\3\3") .. ("r"):rep(32) .. vector8(what.session or "")
        .. vector16(what.ciphers or "\19\1\19\2") .. vector8(what.compressions or "\0")
    if not what.bare then body = body .. vector16(table.concat(extensions)) end
    body = body .. (what.tail or "")
    local message, out, most = "\1" .. u24(#body) .. body, {}, what.record or 16384
    for i = 1, #message, most do
        out[#out + 1] = "\22\3\1" .. vector16(message:sub(i, i + most - 1))
    end
    return table.concat(out)
end

return M
