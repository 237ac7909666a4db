-- SPDX-License-Identifier: MIT
--
-- c: the C library of the project as seen by specs, through LuaJIT's FFI.
--
--   local c = require("spec.support.c")
--   local C = c.load { "base/str.h", "http/h1_parse.h" }      -- paths relative to runtime/
--   assert.is_true(C.rp_str_ieq(c.str("Host"), c.str("host")))
--   assert.equal("H1_SYNTAX", c.err_name(C.rp_x_parse(..)))
--
-- load() may be called many times with overlapping headers. Environment: RP_TEST_LIB names the
-- shared library (default build/librproxy_test.so), CC the compiler used as preprocessor. The
-- working directory is the project root.

local ffi = require("ffi")

local M = {}

local LIB = os.getenv("RP_TEST_LIB") or "build/librproxy_test.so"
-- Under ASan its runtime is preloaded into this process; the compiler must not inherit that.
local CPP = "env -u LD_PRELOAD " .. (os.getenv("CC") or "cc")
    .. " -E -DRP_CDEF -D_GNU_SOURCE -std=gnu11 -Iruntime -x c %s 2> %s"

local PROGRESS = { [0] = "OK", [1] = "AGAIN", [2] = "END" }

local declared = {} -- file -> true: its declarations have been given to ffi.cdef
local anchors = setmetatable({}, { __mode = "k" }) -- rp_str -> the Lua string it borrows
local namespace, names_by_code

-- The headers as one unit without comments and macros; the line markers stay.
local function preprocess(headers)
    local path = os.tmpname()
    local unit = assert(io.open(path, "w"))
    for _, header in ipairs(headers) do
        unit:write('#include "', header, '"\n')
    end
    unit:close()
    local pipe = assert(io.popen(CPP:format(path, path .. ".err")))
    local text = pipe:read("*a")
    pipe:close()
    local errors = io.open(path .. ".err")
    local complaint = errors:read("*a")
    errors:close()
    os.remove(path)
    os.remove(path .. ".err")
    if complaint ~= "" then error("headers do not preprocess:\n" .. complaint, 0) end
    return text
end

-- The lines that come from files not declared before. Line markers (# 12 "file" flags) tell the
-- file; the rows of a .tbl belong to the header that includes it.
local function fresh_lines(text)
    local lines, files, current = {}, {}, nil
    for line in text:gmatch("[^\n]+") do
        local file = line:match('^# %d+ "([^"]*)"')
        if file then
            if not file:find("%.tbl$") then current = file end
        elseif line:find("%S") then
            if not declared[assert(current, line)] then
                lines[#lines + 1] = line
                files[current] = true
            end
        end
    end
    return table.concat(lines, "\n"), files
end

--- Give the declarations of the headers, and of what they include, to ffi.cdef.
function M.declare(headers)
    local all = { "base/err.h", "base/str.h" }
    for _, header in ipairs(headers) do
        all[#all + 1] = header
    end
    local text, files = fresh_lines(preprocess(all))
    local ok, err = pcall(ffi.cdef, text)
    if not ok then
        local n = tonumber(tostring(err):match("at line (%d+)"))
        local at, i = "", 0
        for line in text:gmatch("[^\n]+") do
            i = i + 1
            if i == n then at = "\n  in: " .. line end
        end
        error("ffi.cdef: " .. tostring(err) .. at, 0)
    end
    for file in pairs(files) do
        declared[file] = true
    end
end

--- Declare the headers and return the test library's namespace.
function M.load(headers)
    M.declare(headers)
    namespace = namespace or ffi.load(LIB)
    return namespace
end

--- An rp_str that borrows a Lua string; the string lives as long as the returned view.
function M.str(s)
    local view = ffi.new("rp_str", s, #s)
    anchors[view] = s
    return view
end

--- The bytes of an rp_str as a Lua string; nil when its pointer is NULL.
function M.lua(view)
    if view.ptr == nil then return nil end
    return ffi.string(view.ptr, view.len)
end

--- The number of RP_E_<name>, or of RP_OK, RP_AGAIN, RP_END.
function M.err(name)
    if not namespace then M.load {} end
    for code, word in pairs(PROGRESS) do
        if word == name then return code end
    end
    return tonumber(namespace["RP_E_" .. name])
end

--- "OK", "AGAIN", "END" or the row's name in err.tbl ("H1_SYNTAX") of a result code.
function M.err_name(code)
    code = tonumber(code)
    if not names_by_code then
        names_by_code = {}
        for line in io.lines("runtime/base/err.tbl") do
            local name = line:match("^X%((%u[%u%d_]*),")
            if name then names_by_code[M.err(name)] = name end
        end
    end
    return PROGRESS[code] or names_by_code[code] or ("unknown code " .. code)
end

M.ffi = ffi

return M
