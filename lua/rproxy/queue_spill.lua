-- SPDX-License-Identifier: MIT
--
-- queue_spill: files for items that a queue cannot hold or cannot send, one JSON text a line.
--
-- Files are PATH.pid.generation.number, each of about 1 MB: a VM writes and reads its own, and
-- takes over those of processes that are gone by giving them names of its own. A file is removed
-- when all of it was sent, so what was sent of one before a crash is sent again.

local abi = require("rproxy.abi")
local fs = require("rproxy.fs")
local grant = require("rproxy.grant")
local json = require("rproxy.json")
local log = require("rproxy.log")
local service = require("rproxy.service")
local task = require("rproxy.task")

local M = {}

local FILE_BYTES = 1024 * 1024 -- then the next one is begun
local ADOPT_MOST = 1000 -- files
local SETTLE_SECONDS = 2 -- for what is still to be written at the end

local Spill = {}
Spill.__index = Spill

--- @param opts table  path, max
function M.new(opts)
    local path = grant.fs("write", opts.path) -- and what begins with it
    return setmetatable({ path = path, max = opts.max, bytes = 0, number = 0, file_bytes = 0,
        lines = {}, files = {} }, Spill)
end

local function name_of(self, number)
    if not self.own then
        self.own = ("%s.%d.%d."):format(self.path, abi.C.rp_abi_pid(),
            tonumber(abi.H.conf.generation))
    end
    return self.own .. number
end

-- ---------------------------------------------------------------- writing

-- The file that is written to is the last of self.files.
local function write(self, text)
    local last = self.files[#self.files]
    if not last or last ~= self.current or last.bytes >= FILE_BYTES then
        self.number = self.number + 1
        last = { name = name_of(self, self.number), bytes = 0 }
        self.files[#self.files + 1], self.current = last, last
    end
    last.bytes = last.bytes + #text
    local ok, code, detail = fs.append(grant.inner(last.name), text, { mode = 384 })
    if ok then return end
    log.error("items of a queue are lost", { file = last.name, code = code, error = detail })
end

local function write_all(self)
    while #self.lines > 0 do
        local text = table.concat(self.lines)
        self.lines = {}
        write(self, text)
    end
end

local function writer(self)
    local ok, err = pcall(write_all, self)
    self.writing = false
    if not ok then log.error("items of a queue are lost", { error = tostring(err) }) end
end

--- Take items, to be written soon.
--- @return number kept  the first so many; the others do not fit, or are no JSON
function Spill:put(items)
    local kept = 0
    for _, item in ipairs(items) do
        local text = json.encode(item)
        if not text or self.bytes + #text + 1 > self.max then break end
        self.bytes = self.bytes + #text + 1
        self.lines[#self.lines + 1] = text .. "\n"
        kept = kept + 1
    end
    if kept > 0 and not self.writing then
        service.start(writer, self)
        self.writing = true
    end
    return kept
end

--- Wait until all is written.
--- yields: yes
function Spill:settle()
    local at = service.now() + SETTLE_SECONDS
    while (self.writing or #self.lines > 0) and service.now() < at do task.sleep(0.01) end
end

-- ---------------------------------------------------------------- reading

--- Is there something to send?
function Spill:is_waiting()
    return self.loaded ~= nil or (#self.files > 0 and not self.writing)
end

local function load(self)
    local file = self.files[1]
    if file == self.current then self.current = nil end -- the next items begin a new one
    local text, code, detail = fs.read(grant.inner(file.name), { max = 2 * self.max + FILE_BYTES })
    local items = {}
    for line in (text or ""):gmatch("[^\n]+") do
        local item = json.decode(line)
        if item ~= nil then items[#items + 1] = item end -- a line may be cut off by a crash
    end
    if not text then
        log.error("items of a queue cannot be read", { file = file.name, code = code,
            error = detail })
    end
    self.loaded, self.at = items, 1
end

local function finish_file(self)
    local file = table.remove(self.files, 1)
    self.loaded = nil
    self.bytes = math.max(self.bytes - file.bytes, 0)
    -- One that cannot be removed is sent again by a process to come.
    fs.remove(grant.inner(file.name))
end

--- The next items, which are kept until done.
--- yields: yes
--- @return table|nil items
function Spill:take(n)
    while self:is_waiting() do
        if not self.loaded then load(self) end
        if self.at <= #self.loaded then
            local items = {}
            for i = self.at, math.min(self.at + n - 1, #self.loaded) do
                items[#items + 1] = self.loaded[i]
            end
            return items
        end
        finish_file(self)
    end
    return nil
end

--- The first n of what take gave were sent.
--- yields: yes
function Spill:done(n)
    self.at = self.at + n
    if self.at > #self.loaded then finish_file(self) end
end

local function is_gone(pid)
    local _, code = fs.stat(grant.inner("/proc/" .. pid))
    return code == "not_found"
end

--- Take over what processes left that are gone.
--- yields: yes
function Spill:adopt()
    local folder, base = self.path:match("^(.*/)([^/]*)$")
    local entries = fs.list(grant.inner(folder))
    for _, entry in ipairs(entries or {}) do
        local rest = entry.name:sub(1, #base) == base and entry.name:sub(#base + 1) or ""
        local pid = rest:match("^%.(%d+)%.%d+%.%d+$")
        if pid and #self.files < ADOPT_MOST and is_gone(pid) then
            local info = fs.stat(grant.inner(folder .. entry.name))
            self.number = self.number + 1
            local name = name_of(self, self.number)
            if info and fs.rename(grant.inner(folder .. entry.name),
                grant.inner(name)) then
                table.insert(self.files, 1, { name = name, bytes = info.size })
                self.bytes = self.bytes + info.size
            end
        end
    end
end

return M
