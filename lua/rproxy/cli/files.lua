-- SPDX-License-Identifier: MIT
--
-- files: what tools write. Nothing that is there is overwritten, unless it is known to be ours.

local cli = require("rproxy.cli")
local host = require("rproxy.host")

local M = {}

--- Make a folder, with those above it.
function M.make_folder(path)
    local status, text = host.tool_call("mkdir", path)
    if status ~= 0 then cli.fail(("%s: %s"):format(path, text)) end
end

function M.exists(path)
    local file = io.open(path, "rb")
    if file then file:close() end
    return file ~= nil
end

--- Write a file that is not there yet; else the tool ends.
--- @param path string
--- @param text string
function M.create(path, text)
    if M.exists(path) then cli.fail(path .. " is there already; nothing was overwritten") end
    local file, err = io.open(path, "wxb") -- x: another one may be faster
    if not file then cli.fail(err) end
    assert(file:write(text))
    assert(file:close())
    io.stdout:write("wrote ", path, "\n")
end

--- Write a file that this program made before: it begins with `mark`.
function M.renew(path, text, mark)
    local file = io.open(path, "rb")
    local before = file and file:read(#mark)
    if file then file:close() end
    if not file then return M.create(path, text) end
    if before ~= mark then cli.fail(path .. " is not ours; nothing was overwritten") end
    file = assert(io.open(path, "wb"))
    assert(file:write(text))
    assert(file:close())
    io.stdout:write("wrote ", path, "\n")
end

return M
