-- SPDX-License-Identifier: MIT
--
-- fs: rp.fs: files, read and written by the thread pool while the task waits.
--
-- Paths that do not begin with "/" start at the folder of site.lua. Failures: nil, code, detail.

local abi = require("rproxy.abi")
local grant = require("rproxy.grant")
local object = require("rproxy.object")
local options = require("rproxy.opts")
local task = require("rproxy.task")

local C, H, E = abi.C, abi.H, abi.E
local raise = object.raise

local M = {}

-- enum rp_abi_file_op
local READ, WRITE, SWAP, APPEND, STAT, LIST, REMOVE, MKDIR, RENAME = 0, 1, 2, 3, 4, 5, 6, 7, 8
local READ_MOST = 1024 * 1024
local LIST_MOST = 10000
local TYPES = { [("f"):byte()] = "file", [("d"):byte()] = "folder", [("l"):byte()] = "link",
    [("o"):byte()] = "other" }

-- errno -> code
local CODES = { [1] = "denied", [2] = "not_found", [13] = "denied", [17] = "exists",
    [20] = "no_folder", [21] = "is_folder", [28] = "full", [30] = "denied", [36] = "invalid",
    [39] = "not_empty", [122] = "full" }

-- The path as C takes it, and how much of it is a folder that no link may lead out of (-1: none).
local function check_path(what, access, path)
    local text = path
    if type(path) == "table" then text = path[1] end -- of grant.inner
    if type(text) ~= "string" or text == "" then raise("%s takes a path", what) end
    if text:find("%z") then raise("%s: a path has no NUL in it", what) end
    return grant.fs(access, path)
end

local function failure(code)
    if code == E.TOO_BIG then return nil, "too_big", "there is more than may be" end
    if code == E.INVALID then return nil, "not_plain", "it is no plain file" end
    if code == E.BUSY then return nil, "busy", "too many jobs on files" end
    if code == E.OS then return nil, CODES[H.number] or "os", abi.out() end
    return nil, "os", abi.text(code)
end

-- Do it and wait. true: its results are in the face.
local function run(op, path, root_n, text, number, to_root_n)
    local code = C.rp_abi_file(H, op, path, #path, root_n, text, #text, to_root_n or -1, number)
    if code == E.PHASE then raise("files can be used in hooks only; rp.file reads at load") end
    if code ~= abi.OK then return failure(code) end
    local job = H.handle
    code = C.rp_abi_file_done(H, job)
    while code == abi.AGAIN do
        task.wait("a file", -1)
        code = C.rp_abi_file_done(H, job)
    end
    if code ~= abi.OK then return failure(code) end
    return true
end

--- Read a file.
--- phases: all   yields: yes
--- @param path string
--- @param opts table|nil  max: most bytes (1 MB); over: "too_big"
--- @return string|nil text, string|nil code, string|nil detail
function M.read(path, opts)
    local whole, root_n = check_path("rp.fs.read", "read", path)
    opts = options.check("rp.fs.read", opts, { max = { "whole", READ_MOST } })
    local ok, code, detail = run(READ, whole, root_n, "", opts.max)
    if not ok then return nil, code, detail end
    return abi.out()
end

local function check_text(what, text)
    if type(text) ~= "string" then raise("%s takes a string, got a %s", what, type(text)) end
end

--- Write a file, made when there is none.
--- phases: all   yields: yes
--- @param text string
--- @param opts table|nil  atomic: by a new file that takes the name when it is whole and on the
---   disk; mode: of a new file (420, which is rw-r--r--)
--- @return boolean|nil ok, string|nil code, string|nil detail
function M.write(path, text, opts)
    local whole, root_n = check_path("rp.fs.write", "write", path)
    check_text("rp.fs.write", text)
    opts = options.check("rp.fs.write", opts, { atomic = "boolean", mode = { "whole", 420 } })
    return run(opts.atomic and SWAP or WRITE, whole, root_n, text, opts.mode)
end

--- Write at the end of a file, made when there is none.
--- phases: all   yields: yes
function M.append(path, text, opts)
    local whole, root_n = check_path("rp.fs.append", "write", path)
    check_text("rp.fs.append", text)
    opts = options.check("rp.fs.append", opts, { mode = { "whole", 420 } })
    return run(APPEND, whole, root_n, text, opts.mode)
end

--- What a path names, links followed.
--- phases: all   yields: yes
--- @return table|nil info  type ("file", "folder", "other"), size, modified (seconds since 1970),
---   mode
function M.stat(path)
    local whole, root_n = check_path("rp.fs.stat", "read", path)
    local ok, code, detail = run(STAT, whole, root_n, "", 0)
    if not ok then return nil, code, detail end
    local st = H.file_stat
    return { type = TYPES[st.kind], size = st.bytes, modified = st.modified, mode = st.mode,
        inode = st.inode, device = st.device }
end

--- The entries of a folder, by name.
--- phases: all   yields: yes
--- @param opts table|nil  max: most entries (10000); over: "too_big"
--- @return table|nil entries  { name =, type = "file", "folder", "link", "other" }, ..
function M.list(path, opts)
    local whole, root_n = check_path("rp.fs.list", "read", path)
    opts = options.check("rp.fs.list", opts, { max = { "whole", LIST_MOST } })
    local ok, code, detail = run(LIST, whole, root_n, "", opts.max)
    if not ok then return nil, code, detail end
    local entries = {}
    for kind, name in abi.out():gmatch("(.)(%Z+)%z") do
        entries[#entries + 1] = { name = name, type = TYPES[kind:byte()] }
    end
    table.sort(entries, function(a, b) return a.name < b.name end)
    return entries
end

--- Remove a file or an empty folder.
--- phases: all   yields: yes
function M.remove(path)
    local whole, root_n = check_path("rp.fs.remove", "write", path)
    return run(REMOVE, whole, root_n, "", 0)
end

--- Give it another name; what had that name is gone.
--- phases: all   yields: yes
function M.rename(path, to)
    local whole, root_n = check_path("rp.fs.rename", "write", path)
    local to_whole, to_root_n = check_path("rp.fs.rename", "write", to)
    return run(RENAME, whole, root_n, to_whole, 0, to_root_n)
end

--- Make a folder.
--- phases: all   yields: yes
--- @param opts table|nil  parents: make those above it, too, and one that is there is no failure;
---   mode (493, which is rwxr-xr-x)
function M.mkdir(path, opts)
    local whole, root_n = check_path("rp.fs.mkdir", "write", path)
    opts = options.check("rp.fs.mkdir", opts, { parents = "boolean", mode = { "whole", 493 } })
    return run(MKDIR, whole, root_n, opts.parents and "p" or "", opts.mode)
end

local function mark_of(info)
    if not info then return "" end
    return ("%.9f %.0f %.0f %.0f"):format(info.modified, info.size, info.inode, info.device)
end

--- Call a function whenever what a path names is another one: after it is written, replaced,
--- removed, made. It is looked at every so often, which also sees what happens on network file
--- systems and behind links; what changes and changes back between two looks is not seen.
--- phases: all, start   yields: yes
--- @param fn function  (info | nil when there is none)
--- @param opts table|nil  every: seconds between two looks (1)
--- @return table|nil timer, string|nil code  timer:cancel()
function M.watch(path, fn, opts)
    check_path("rp.fs.watch", "read", path)
    if type(fn) ~= "function" then raise("rp.fs.watch takes a path and a function") end
    opts = options.check("rp.fs.watch", opts, { every = { "seconds", 1 } })
    local last = mark_of((M.stat(path)))
    return task.every(opts.every, function()
        local info, code = M.stat(path)
        if code == "busy" then return end
        local mark = mark_of(info)
        if mark == last then return end
        last = mark
        fn(info)
    end)
end

return M
