-- SPDX-License-Identifier: MIT
--
-- abi: the C side of rproxy as Lua sees it, the only module of the layer that knows the FFI.
--
--   abi.C          the functions of runtime/script/abi.h
--   abi.H          struct rp_host_face * of this VM
--   abi.host       C functions that take Lua values: spawn, park, read, embedded, chain_new ..
--   abi.OK .. END  progress codes; failures are abi.E.NAME
--
-- No 64-bit integer leaves the modules that use this one: sizes go through tonumber.

local ffi = require("ffi")
local host = require("rproxy.host")

local VERSION = 1
local C = ffi.C

if host.declarations then ffi.cdef(host.declarations) end
if C.rp_abi_version() ~= VERSION then
    error(("this Lua layer speaks version %d of the C interface, the program version %d"):format(
        VERSION, C.rp_abi_version()), 0)
end

local M = {
    C = C,
    H = ffi.cast("struct rp_host_face *", host.face),
    host = host,
    OK = 0,
    AGAIN = 1,
    END = 2,
    cast = ffi.cast,
    copy = ffi.copy,
    gc = ffi.gc,
    new = ffi.new,
    string = ffi.string,
}

--- Failure codes by name: abi.E.TOO_BIG. Unknown names raise.
M.E = setmetatable({}, {
    __index = function(codes, name)
        local code = tonumber(C["RP_E_" .. name])
        codes[name] = code
        return code
    end,
})

--- The words of a failure code ("timed out").
--- @param code number
--- @return string
function M.text(code)
    return ffi.string(C.rp_err_text(code))
end

--- The result of the last call as a string.
function M.out()
    local out = M.H.out
    return ffi.string(out.ptr, out.len)
end

return M
