-- SPDX-License-Identifier: MIT
--
-- record_file: where records go: one file, which all workers append to, opened anew for each
-- write. So a file that was moved away is followed at once, and a line is never torn but by a full
-- disk or a crash.
--
-- Lines wait in memory until a task of the layer has written those before; what does not fit there
-- is dropped and counted. A file that would grow past `max` gets the name FILE.1, that one FILE.2,
-- and so on up to `keep`; who turns them holds the folder FILE.turning meanwhile.

local chain = require("rproxy.chain")
local fs = require("rproxy.fs")
local log = require("rproxy.log")
local service = require("rproxy.service")
local task = require("rproxy.task")

local M = {}

-- As they are before a tape stands in between.
local append, stat, rename, mkdir, remove = fs.append, fs.stat, fs.rename, fs.mkdir, fs.remove

local WAITING_MOST = 8 * 1024 * 1024 -- bytes of lines in memory
local PIECE_MOST = 1024 * 1024       -- bytes of one write, unless one line is longer
local MODE = 384                     -- rw-------
local STALE_SECONDS = 60             -- after which whoever turned files is held to be dead
local LOOK_SECONDS, LOOKS_MOST = 0.01, 100 -- at a file that another worker turns
local SAY_SECONDS = 10
local FAREWELL_SECONDS = 3

local File = {}
File.__index = File

local function say(self, what, fields)
    local now = service.now()
    if self.said_at and now < self.said_at + SAY_SECONDS then return end
    self.said_at = now
    fields.file, fields.dropped = self.path, self.dropped
    log.warn(what, fields)
end

-- ---------------------------------------------------------------- turning

local function has_room(self, bytes)
    local info = stat(self.path)
    return not info or info.size == 0 or info.size + bytes <= self.max
end

local function turn_held(self, bytes)
    if has_room(self, bytes) then return end -- somebody else did
    for i = self.keep - 1, 1, -1 do
        local from = ("%s.%d"):format(self.path, i)
        if stat(from) then rename(from, ("%s.%d"):format(self.path, i + 1)) end
    end
    if self.keep > 0 then rename(self.path, self.path .. ".1") else remove(self.path) end
end

-- One turns at a time; the others wait for it.
local function turn(self, bytes)
    local folder = self.path .. ".turning"
    local ok, code = mkdir(folder)
    if not ok and code == "exists" then
        local info = stat(folder)
        if info and info.modified + STALE_SECONDS < self.wall() then remove(folder) end
        task.sleep(LOOK_SECONDS)
        return
    end
    if not ok then return end
    turn_held(self, bytes)
    remove(folder)
end

-- ---------------------------------------------------------------- writing

local function take_piece(self)
    local first, bytes, n = self.first, 0, 0
    local most = math.min(PIECE_MOST, self.max / 8) -- others may write at the same moment
    while first + n <= self.last and (n == 0 or bytes + #self.lines[first + n] <= most) do
        bytes, n = bytes + #self.lines[first + n], n + 1
    end
    local piece = table.concat(self.lines, "", first, first + n - 1)
    for i = first, first + n - 1 do self.lines[i] = nil end
    self.first = first + n
    return piece, n
end

local function write_piece(self)
    local piece, n = take_piece(self)
    if self.max < math.huge then
        local looks = 0
        while looks < LOOKS_MOST and not has_room(self, #piece) do
            turn(self, #piece)
            looks = looks + 1
        end
    end
    local ok, code, detail = append(self.path, piece, { mode = MODE })
    self.bytes = self.bytes - #piece
    if ok then
        self.written = self.written + n
    else
        self.dropped = self.dropped + n
        say(self, "records cannot be written", { error = code, why = detail })
    end
end

local function work(self)
    while true do
        while self.first > self.last do
            self.idle = true
            task.wait("records", -1)
            self.idle = false
        end
        self.busy = true
        local ok, err = pcall(write_piece, self)
        self.busy = false
        if not ok then say(self, "records cannot be written", { error = tostring(err) }) end
    end
end

--- Queue a line, which ends in a line feed. Never waits.
--- @return boolean kept
function File:put(line)
    if self.bytes + #line > WAITING_MOST then
        self.dropped = self.dropped + 1
        say(self, "records are dropped: they come faster than they are written", {})
        return false
    end
    self.last = self.last + 1
    self.lines[self.last] = line
    self.bytes = self.bytes + #line
    if self.handle and self.idle then service.wake(self.handle) end
    return true
end

--- @param path string
--- @param max number  bytes of one file
--- @param keep number  files that are kept beside it
--- @param wall function  seconds since the epoch
--- @return table file  file:put(line); written and dropped: lines so far
function M.new(path, max, keep, wall)
    local self = setmetatable({ path = path, max = max, keep = keep, wall = wall, lines = {},
        first = 1, last = 0, bytes = 0, written = 0, dropped = 0 }, File)
    chain.on("start", function() self.handle = service.start(work, self) end, -1)
    chain.on("farewell", function()
        service.wait_until("records", function()
            if self.idle then service.wake(self.handle) end
            if self.first > self.last and not self.busy then return true end
            task.sleep(0.005)
            return false
        end, service.now() + FAREWELL_SECONDS)
    end, -1)
    return self
end

return M
