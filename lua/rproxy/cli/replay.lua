-- SPDX-License-Identifier: MIT
--
-- replay: `rproxy replay -p new.lua CAPTURE..`.

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local json = require("rproxy.json")

local M = {}

M.SPEC = {
    usage = "replay -p site.lua [options] CAPTURE..",
    about = [[Run a site over requests that were recorded (see `record` of a site) and tell what is
        decided otherwise: routes, verdicts, upstreams, what is sent to them, and responses.

        The requests run through the real core and the site's hooks, in this process. Calls of hooks
        to the outside are answered as they were when the request was recorded, by name and
        arguments and then by order; clocks and dice too. Nothing reaches the world. A call that was
        never recorded is reported and fails with "no_record".

        Exit status: 0 nothing is decided otherwise, 1 something is, 2 trouble.]],
    site = "needed",
    options = {
        { "only", value = "NAME", doc = "report requests of this route, or that met this plugin" },
        { "key", value = "FILE", doc = "the secret that the site's record.key had" },
        { "miss", value = "fail|empty", default = "fail",
            doc = "what a call without a record gives: nil and \"no_record\", or nil alone" },
        { "examples", value = "N", default = "3", doc = "requests that are shown of each group" },
        { "limit", value = "N", doc = "replay at most so many requests" },
        { "strict", doc = "calls without a record count as differences" },
        { "json", doc = "as JSON" },
    },
    words = { 1, 1000 },
}

local function number(opts, name)
    if opts[name] == nil then return math.huge end
    local value = tonumber(opts[name])
    if not value or value < 0 or value % 1 ~= 0 then
        cli.fail(("--%s takes a whole number, not %q"):format(name, opts[name]))
    end
    return value
end

-- A file that only who called us may read comes whole, through the parent.
local Text = {}
Text.__index = Text

function Text:read(n)
    if self.at > #self.text then return nil end
    local piece = self.text:sub(self.at, self.at + n - 1)
    self.at = self.at + n
    return piece
end

function Text.close() end

local function open_file(path)
    local file = io.open(path, "rb")
    if file then return file end
    local text, err = cli.read(path)
    if not text then cli.fail(("%s: %s"):format(path, err)) end
    return setmetatable({ text = text, at = 1 }, Text)
end

local function opener(words)
    return function()
        local files = {}
        for i, path in ipairs(words) do files[i] = open_file(path) end
        return files
    end
end

local function read_key(path)
    if not path then return nil end
    local key, err = cli.read(path)
    if not key then cli.fail(("%s: %s"):format(path, err)) end
    if #key < 32 then cli.fail(path .. ": a key has 32 bytes or more") end
    return key
end

-- ---------------------------------------------------------------- gathering

local function url_of(record)
    local request = record.request
    local path = type(request.path) == "string" and request.path or "?"
    local query = type(request.query) == "string" and "?" .. request.query or ""
    return ("%s %s://%s%s%s"):format(request.method, request.scheme or "http", request.host or "",
        path, query)
end

local Report = {}
Report.__index = Report

local function new_report(opts)
    return setmetatable({ examples = number(opts, "examples"), only = opts.only, groups = {},
        by_text = {}, requests = 0, same = 0, different = 0, skipped = {}, skipped_n = 0,
        misses = {}, misses_n = 0, missing = 0, borrowed = 0, guessed = 0, assumed = 0,
        simulated = 0, dice = 0,
        redacted = 0, cut = 0, lost = 0, other = 0 }, Report)
end

function Report:skip(why)
    self.skipped[why] = (self.skipped[why] or 0) + 1
    self.skipped_n = self.skipped_n + 1
end

local function meets(decisions, name)
    for _, entry in ipairs(decisions) do
        if type(entry) == "table" and entry.instance == name then return true end
    end
    return false
end

local function is_of(self, record, result)
    local name = self.only
    return name == nil or record.route == name or result.outcome.route == name
        or meets(result.old, name) or meets(result.new, name)
end

function Report:group(difference, record)
    local text = difference.text
    local group = self.by_text[text]
    if not group then
        group = { kind = difference.kind, text = text, count = 0, examples = {} }
        self.by_text[text] = group
        self.groups[#self.groups + 1] = group
    end
    group.count = group.count + 1
    if #group.examples < self.examples then
        group.examples[#group.examples + 1] = { id = record.request.id, request = url_of(record),
            old = difference.old, new = difference.new }
    end
end

function Report:note_calls(result)
    if #result.misses > 0 then self.missing = self.missing + 1 end
    for _, miss in ipairs(result.misses) do
        self.misses[miss.text] = (self.misses[miss.text] or 0) + 1
        self.misses_n = self.misses_n + 1
    end
    self.borrowed = self.borrowed + #result.borrowed
    self.guessed = self.guessed + #result.guessed
    self.assumed = self.assumed + #result.assumed
    self.simulated = self.simulated + #result.simulated
    self.dice = self.dice + result.dice
    if #result.differences == 0 then return end
    if result.redacted > 0 then self.redacted = self.redacted + 1 end
    if result.cut then self.cut = self.cut + 1 end
end

function Report:add(record, result)
    if not is_of(self, record, result) then
        self.other = self.other + 1
        return
    end
    self.requests = self.requests + 1
    if record.lost then self.lost = self.lost + 1 end
    self:note_calls(result)
    if not result.differences[1] then
        self.same = self.same + 1
        return
    end
    self.different = self.different + 1
    for _, difference in ipairs(result.differences) do self:group(difference, record) end
end

-- ---------------------------------------------------------------- telling

local function by_count(a, b)
    if a.count ~= b.count then return a.count > b.count end
    return a.text < b.text
end

local function rows_of(map)
    local rows = {}
    for text, count in pairs(map) do rows[#rows + 1] = { text = text, count = count } end
    table.sort(rows, by_count)
    return rows
end

local SHOWN_MOST = 120

local function short(value)
    local text = tostring(value):gsub("[^ -~]", ".")
    return #text > SHOWN_MOST and text:sub(1, SHOWN_MOST) .. ".." or text
end

local function group_lines(out, group)
    out[#out + 1] = ("%6d  %s"):format(group.count, group.text)
    for _, example in ipairs(group.examples) do
        out[#out + 1] = ("          %s  id=%s"):format(short(example.request), tostring(example.id))
        local told = group.text:find("->", 1, true)
        for _, side in ipairs { { "was", example.old }, { "now", example.new } } do
            if not told and side[2] ~= nil then
                out[#out + 1] = ("            %s: %s"):format(side[1], short(side[2]))
            end
        end
    end
end

local NOTES = {
    { "cut", "of the different requests have bodies that were not recorded whole" },
    { "borrowed", "calls were answered by what the same call gave for another request" },
    { "guessed", "calls were answered by their order, as their arguments hold redacted secrets" },
    { "assumed", "calls that only write had no record; they were taken to succeed" },
    { "simulated", "calls of zones, locks and semaphores had no record; they were made on memory "
        .. "of this tool, which knows the replayed requests only" },
    { "dice", "random values had no record; they were drawn anew" },
    { "lost", "records are not whole: a request had more calls than are kept" },
    { "redacted", "of the different requests have redacted secrets, whose values nothing could "
        .. "verify; --key FILE brings back what record.key kept" },
}

function Report:text(counts, background)
    local out = {}
    out[1] = ("%d requests replayed: %d the same, %d different"):format(self.requests, self.same,
        self.different)
    if self.other > 0 then
        out[#out + 1] = ("%d more are not of %s"):format(self.other, self.only)
    end
    table.sort(self.groups, by_count)
    for _, group in ipairs(self.groups) do group_lines(out, group) end
    if self.misses_n > 0 then
        out[#out + 1] = ("%d calls without a record, in %d requests"):format(self.misses_n,
            self.missing)
        for _, row in ipairs(rows_of(self.misses)) do
            out[#out + 1] = ("%6d  %s"):format(row.count, short(row.text))
        end
    end
    for _, note in ipairs(NOTES) do
        if self[note[1]] > 0 then out[#out + 1] = ("%d %s"):format(self[note[1]], note[2]) end
    end
    if background.library.full then
        out[#out + 1] = "the capture has more calls than are remembered for other requests"
    end
    if #background.misses > 0 then
        out[#out + 1] = ("%d calls of start hooks and timers without a record"):format(
            #background.misses)
    end
    for _, row in ipairs(rows_of(self.skipped)) do
        out[#out + 1] = ("%d not replayed: %s"):format(row.count, row.text)
    end
    if counts.unreadable > 0 then
        out[#out + 1] = ("%d lines are no records: %s"):format(counts.unreadable,
            tostring(counts.why))
    end
    if counts.torn > 0 then out[#out + 1] = "the last line is torn" end
    if self.start_failed then
        local why = self.start_failed:gsub("\n.*", "")
        out[#out + 1] = "start hooks failed and were left out: " .. why
    end
    -- Terminals obey some bytes, and what is told comes from strangers.
    for i, line in ipairs(out) do out[i] = line:gsub("[%z\1-\31\127-\255]", ".") end
    return table.concat(out, "\n") .. "\n"
end

function Report:data(counts, background)
    table.sort(self.groups, by_count)
    return { requests = self.requests, same = self.same, different = self.different,
        other = self.other, differences = json.array(self.groups),
        misses = json.array(rows_of(self.misses)), borrowed = self.borrowed, guessed = self.guessed,
        assumed = self.assumed, simulated = self.simulated, dice = self.dice, lost = self.lost,
        redacted = self.redacted,
        cut = self.cut,
        skipped = json.array(rows_of(self.skipped)), background_misses = #background.misses,
        unreadable = counts.unreadable, torn = counts.torn, start_failed = self.start_failed }
end

-- ---------------------------------------------------------------- all

local function run_all(replay, open, report, limit)
    local capture, replay_of = require("rproxy.capture"), require("rproxy.replay")
    local n = 0
    for _, file in ipairs(open()) do
        capture.each(file, capture.counts(), function(record)
            if n >= limit then return true end
            if record.kind ~= "request" then return end
            local why = replay_of.refusal(record)
            if why then report:skip(why) return end
            n = n + 1
            local ran, result = pcall(replay.run, replay, record)
            if ran then report:add(record, result)
            else report:skip(tostring(result):gsub("\n.*", "")) end
        end)
    end
end

function M.main(argv)
    local opts, words = args.read(argv, M.SPEC)
    local limit, report, open = number(opts, "limit"), new_report(opts), opener(words)
    local replay_of = require("rproxy.replay")
    replay_of.prepare()
    local path, key = cli.path(opts.site), read_key(opts.key)
    local library, counts, at = replay_of.survey(open)
    if not at then
        cli.fail(("%s: no record in it%s"):format(words[1],
            counts.why and " (" .. tostring(counts.why) .. ")" or ""))
    end
    local opened, replay = pcall(replay_of.open, path, library, { key = key, on_miss = opts.miss,
        overrides = opts.overrides, at = at })
    if not opened then cli.fail(tostring(replay)) end
    report.start_failed = replay.start_failed
    run_all(replay, open, report, limit)
    local background = replay.background
    replay:close()
    if opts.json then
        io.stdout:write(json.encode(report:data(counts, background), { sort = true,
            invalid = "replace" }), "\n")
    else
        io.stdout:write(report:text(counts, background))
    end
    if report.requests == 0 and report.skipped_n > 0 then return 2 end
    if report.different > 0 or (opts.strict and report.misses_n > 0) then return 1 end
    return 0
end

return M
