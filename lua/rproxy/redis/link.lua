-- SPDX-License-Identifier: MIT
--
-- link: one connection to one Redis server, in two shapes.
--
-- A shared link is a service that owns the socket. Commands of any number of tasks are put in its
-- queue; what came together is sent by one write, answers are handed out in the order of the
-- commands. So a task that is cancelled or gives up takes nothing with it: its answer comes, is
-- counted, and is thrown away. The link connects when there is something to send, and again after
-- it broke; what was sent and not answered by then fails, what was not sent yet is sent anew.
--
-- An own link belongs to the task that opened it, for what changes the connection's state or blocks
-- it: WATCH, BLPOP, SUBSCRIBE. It is closed with the request.

local abi = require("rproxy.abi")
local null = require("rproxy.json").null
local outside = require("rproxy.outside")
local resp = require("rproxy.redis.resp")
local service = require("rproxy.service")
local socket = require("rproxy.socket")
local task = require("rproxy.task")

local C, H, AGAIN, OK = abi.C, abi.H, abi.AGAIN, abi.OK

local M = {}

local ANY, ANY_MOST = 2, 64 * 1024
local IDLE_SECONDS = 60 -- a shared link without work closes, and its task ends
local BATCH_BYTES = 256 * 1024 -- sent by one write at most, and then answers are looked for


-- ---------------------------------------------------------------- connecting

-- Of a failure on a connection that was there.
local function code_of(err)
    return err == "timeout" and err or "closed"
end

-- Send, and read n replies; pushes between them are passed over.
local function exchange(sock, reader, bytes, n)
    local ok, err, why = sock:write(bytes)
    if not ok then return nil, code_of(err), why end
    local results, have = {}, 0
    while have < n do
        local got, value, is_push = reader:next()
        if got == nil then return nil, "protocol", value end
        if got and not is_push then
            have = have + 1
            results[have] = value
        elseif not got then
            local data
            data, err, why = sock:read("any")
            if not data then return nil, code_of(err), why end
            reader:feed(data)
        end
    end
    return results
end

local function command(...)
    return (assert(resp.command(select("#", ...), { ... })))
end

-- RESP3, with the login in the same command; servers before 6.0 do not know it.
local function greet(sock, reader, opts)
    local hello
    if opts.password then
        hello = command("HELLO", 3, "AUTH", opts.username or "default", opts.password)
    else
        hello = command("HELLO", 3)
    end
    local results, code, detail = exchange(sock, reader, hello, 1)
    if not results then return nil, code, detail end
    local answer = results[1]
    if not resp.is_failure(answer) then return true end
    local unknown = answer.detail:find("unknown command", 1, true)
    if answer.err == "NOPROTO" or unknown then return false end
    return nil, answer.err, answer.detail
end

local function login(sock, reader, opts)
    if not opts.password then return true end
    local auth = opts.username and command("AUTH", opts.username, opts.password)
        or command("AUTH", opts.password)
    local results, code, detail = exchange(sock, reader, auth, 1)
    if not results then return nil, code, detail end
    if resp.is_failure(results[1]) then return nil, results[1].err, results[1].detail end
    return true
end

-- What the sentinels call the master may not be it yet, or any more.
local function check_role(sock, reader)
    local results, code, detail = exchange(sock, reader, command("ROLE"), 1)
    if not results then return nil, code, detail end
    local role = results[1]
    if type(role) == "table" and role[1] == "master" then return true end
    return nil, "connect", "the server found is no master"
end

local function set_up(sock, reader, opts)
    local speaks3, results, code, detail
    if opts.protocol ~= 2 then
        speaks3, code, detail = greet(sock, reader, opts)
        if speaks3 == nil then return nil, code, detail end
    end
    if not speaks3 then
        local ok
        ok, code, detail = login(sock, reader, opts)
        if not ok then return nil, code, detail end
    end
    if opts.db then
        results, code, detail = exchange(sock, reader, command("SELECT", opts.db), 1)
        if not results then return nil, code, detail end
        if resp.is_failure(results[1]) then return nil, results[1].err, results[1].detail end
    end
    if opts.locate then return check_role(sock, reader) end
    return true
end

-- A socket that is ready for commands, and its reader.
local function connect(opts)
    local host, port, unix = opts.host, opts.port, opts.unix
    if opts.locate then
        local code, detail
        host, port, detail = opts.locate()
        if not host then
            code = port
            return nil, code, detail
        end
        unix = nil
    end
    local sock, err, why = socket.connect_as(opts.maker, { host = host, port = port, unix = unix,
        tls = not unix and opts.tls or nil, timeout = opts.timeout, pool = false })
    if not sock then return nil, err == "timeout" and err or "connect", why or err end
    local reader = resp.reader(null, opts.max_reply)
    local ok, code, detail = set_up(sock, reader, opts)
    if ok then return sock, reader end
    sock:close()
    return nil, code, detail
end

-- ---------------------------------------------------------------- a link of one's own

local Own = {}
Own.__index = Own

--- Connect, for the running task alone.
--- yields: yes
--- @return table|nil own, string|nil code, string|nil detail
function M.own(opts)
    local sock, reader, detail = connect(opts)
    if not sock then return nil, reader, detail end
    return setmetatable({ sock = sock, reader = reader, timeout = opts.timeout }, Own)
end

--- Send, and wait for n replies.
--- @param seconds number|nil  for each wait; math.huge: as long as it takes
function Own:call(bytes, n, seconds)
    if not self.sock then return nil, "closed", "the connection is closed" end
    self.sock:set_timeout(math.min(seconds or self.timeout, 86400))
    local results, code, detail = exchange(self.sock, self.reader, bytes, n)
    if not results then self:close() end
    return results, code, detail
end

--- The next reply or push, whatever it is.
--- @return any|nil value, string|nil code, string|nil detail  "timeout" leaves it open
function Own:take(seconds)
    while self.sock do
        local got, value = self.reader:next()
        if got then return value end
        if got == nil then
            self:close()
            return nil, "protocol", value
        end
        self.sock:set_timeout(math.min(seconds or 86400, 86400))
        local data, err, why = self.sock:read("any")
        if not data then
            if err == "timeout" then return nil, err, why end
            self:close()
            return nil, "closed", why
        end
        self.reader:feed(data)
    end
    return nil, "closed", "the connection is closed"
end

function Own:send(bytes)
    if not self.sock then return nil, "closed", "the connection is closed" end
    local ok, err, why = self.sock:write(bytes)
    if ok then return true end
    self:close()
    return nil, code_of(err), why
end

function Own:close()
    if self.sock then self.sock:close() end
    self.sock = nil
end

-- ---------------------------------------------------------------- a shared link

local Shared = {}
Shared.__index = Shared

--- @param opts table  host, port, unix or locate; tls, username, password, protocol, db, timeout,
---   max_reply, waiting (commands that may wait on it)
function M.shared(opts)
    return setmetatable({ opts = opts, queue = {}, head = 1, tail = 0, sent = {}, sent_head = 1,
        sent_tail = 0, load = 0, last_read = 0, connects = 0 }, Shared)
end

local function settle(self, job, code, detail)
    job.done, job.code, job.detail = true, code, detail
    self.load = self.load - 1
    if not job.left then service.wake(job.task) end
end

local function fail_sent(self, code, detail)
    for i = self.sent_head, self.sent_tail do
        settle(self, self.sent[i], code, detail)
        self.sent[i] = nil
    end
    self.sent_head, self.sent_tail = 1, 0
end

local function fail_queued(self, code, detail)
    for i = self.head, self.tail do
        settle(self, self.queue[i], code, detail)
        self.queue[i] = nil
    end
    self.head, self.tail = 1, 0
end

-- Bytes of what is queued; those jobs are awaited from now on. What its task has given up is not
-- sent at all.
local function take_batch(self)
    local out, n, bytes, now = {}, 0, 0, service.now()
    while self.head <= self.tail and bytes < BATCH_BYTES do
        local job = self.queue[self.head]
        self.queue[self.head] = nil
        self.head = self.head + 1
        if job.left then
            self.load = self.load - 1
        else
            n = n + 1
            out[n] = job.bytes
            bytes = bytes + #job.bytes
            job.bytes, job.sent_at = nil, now
            self.sent_tail = self.sent_tail + 1
            self.sent[self.sent_tail] = job
        end
    end
    return table.concat(out)
end

-- Hand out what the reader has. nil, words: what came is not an answer to anything.
local function hand_out(self, reader)
    while true do
        local got, value, is_push = reader:next()
        if got == nil then return nil, value end
        if not got then return true end
        if not is_push then
            local job = self.sent[self.sent_head]
            if not job then return nil, "an answer to nothing" end
            job.have = job.have + 1
            job.results[job.have] = value
            if job.have == job.n then
                self.sent[self.sent_head] = nil
                self.sent_head = self.sent_head + 1
                settle(self, job)
            end
        end
    end
end

-- Send and read until the connection breaks (code, detail) or is not needed any more (nil).
local function serve(self, sock, reader)
    while true do
        if self.broken then return self.broken, "no answer in time" end
        if self.head <= self.tail then
            local ok, err, why = sock:write(take_batch(self))
            if not ok then return code_of(err), why end
        end
        local code = C.rp_abi_sock_read(H, sock.handle, ANY, ANY_MOST, "", 0)
        if code == OK then
            self.last_read = service.now()
            reader:feed(abi.out())
            local ok, err = hand_out(self, reader)
            if not ok then return "protocol", err end
        elseif code ~= AGAIN then
            return "closed", abi.out()
        elseif self.head > self.tail then
            local idle = self.load == 0
            if idle and self.closing then return nil end
            local woken = task.wait("redis", idle and IDLE_SECONDS or -1)
            if not woken and self.load == 0 then return nil end
        end
    end
end

local function work(self)
    while self.head <= self.tail do
        self.broken = nil
        local sock, reader, detail = connect(self.opts)
        if not sock then
            fail_queued(self, reader, detail)
        else
            self.connects = self.connects + 1
            self.last_read = service.now()
            local code, why = serve(self, sock, reader)
            sock:close()
            if code then fail_sent(self, code, why) end
        end
    end
end

local function run(self)
    local ok, err = pcall(work, self)
    self.task = nil
    if ok then return end
    fail_sent(self, "internal", tostring(err))
    fail_queued(self, "internal", tostring(err))
    require("rproxy.log").error("a Redis connection failed", { error = tostring(err) })
end

local function submit(self, job)
    if self.load >= self.opts.waiting then
        return nil, "busy", "too many commands wait on this connection"
    end
    -- A service that is started runs later; it may also raise, and then nothing is queued yet.
    if self.task then service.wake(self.task)
    else self.task = service.start(run, self) end
    self.closing = false
    self.load = self.load + 1
    self.tail = self.tail + 1
    self.queue[self.tail] = job
    return true
end

-- Its task waits no more. A connection that has been silent since the command was sent is broken;
-- one that is only slow goes on, and the answer is thrown away when it comes.
local function leave(self, job)
    job.left = true
    if job.sent_at and self.last_read <= job.sent_at then
        self.broken = "timeout"
        if self.task then service.wake(self.task) end
    end
end

--- Send, to be followed by M.finish. n: replies that come.
--- @return table|nil job, string|nil code, string|nil detail
function Shared:begin(bytes, n)
    local job = { link = self, bytes = bytes, n = n, have = 0, results = {}, task = service.self() }
    local ok, code, detail = submit(self, job)
    if not ok then return nil, code, detail end
    return job
end

--- Wait for the replies until `deadline` (loop time).
--- yields: yes
--- @return table|nil results, string|nil code, string|nil detail, boolean|nil unsent
function M.finish(job, deadline)
    while not job.done do
        local left = deadline - service.now()
        if left <= 0 then
            leave(job.link, job)
            return nil, "timeout", "no answer in time", job.sent_at == nil
        end
        task.wait("redis", left)
    end
    if job.code then return nil, job.code, job.detail, job.sent_at == nil end
    return job.results
end

--- Close the connection as soon as nothing waits on it.
function Shared:close()
    self.closing = true
    if self.task then service.wake(self.task) end
end

--- What is there is not what we look for (a replica, say): connect anew for the next command.
function Shared:renew()
    if self.task and not self.broken then
        self.broken = "closed"
        service.wake(self.task)
    end
end

outside.class("redis.own", Own, { fields = { "timeout" } })
outside.class("redis.failure", getmetatable(resp.failure("ERR")))

return M
