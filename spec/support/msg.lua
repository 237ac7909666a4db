-- SPDX-License-Identifier: MIT
--
-- msg: chains and heads of C as a spec looks at them.

local c = require("spec.support.c")
local ffi = require("ffi")

local C = c.load { "base/chain.h" }

local M = {}

--- A chain in that memory; bytes: copied into it.
function M.chain(mem, bytes)
    local out = ffi.new("struct rp_chain")
    C.rp_chain_init(out, mem)
    if bytes then C.rp_chain_add_copy(out, c.str(bytes)) end
    return out
end

--- The bytes of a chain, which is empty afterwards.
function M.drain(chain)
    local n = tonumber(chain.bytes)
    local buf = ffi.new("char[?]", n + 1)
    C.rp_chain_peek(chain, buf, n)
    C.rp_chain_clear(chain)
    return ffi.string(buf, n)
end

--- The fields of a message, in order: { "name: value", .. }. Those that were deleted are left out.
--- between: stands in place of ": "
function M.fields(m, between)
    local out = {}
    between = between or ": "
    for i = 0, m.fields_n - 1 do
        local f = m.fields[i]
        if f.name_n > 0 then
            out[#out + 1] = ffi.string(f.name, f.name_n) .. between .. ffi.string(f.value, f.value_n)
        end
    end
    return out
end

return M
