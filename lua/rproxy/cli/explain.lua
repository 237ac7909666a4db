-- SPDX-License-Identifier: MIT
--
-- explain: `rproxy explain -p site.lua 'GET https://host/path'`.

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local json = require("rproxy.json")

local M = {}

M.SPEC = {
    usage = "explain -p site.lua [options] '[METHOD] URL'",
    about = [[Tell what a site would do with a request, and why: each route of its host and what
        speaks against it, the hooks in their order with what each decides and changes, what
        would go upstream, and the answer.

        The request runs through the real core and the site's own hooks, in this process. It
        reaches nobody: an upstream is played and answers 200 (or what --answer says), and what
        else hooks ask for (HTTP, Redis, names, sockets) is refused unless --serve or --answers
        plays it.
        Files and programs that hooks use are real.

        Exit status: 0 the request goes through, 1 the site refuses it (a status from 400 on that is
        not the upstream's), 2 trouble.]],
    site = "needed",
    options = {
        { "header", short = "H", value = "'NAME: VALUE'", list = true, doc = "a header" },
        { "data", short = "d", value = "TEXT", doc = "a body" },
        { "data-file", value = "FILE", doc = "a body from a file" },
        { "from", value = "IP", default = "127.0.0.1", doc = "the client's address" },
        { "answer", value = "STATUS", default = "200", doc = "what upstreams answer" },
        { "serve", value = "HOST:PORT=TEXT", list = true,
            doc = "answer requests of hooks to that place with 200 and this body" },
        { "answers", value = "FILE", doc = "JSON: { \"host:port\": { \"status\":, \"headers\":, "
            .. "\"body\": } }, answers to requests of hooks" },
        { "time", value = "SECONDS", doc = "the wall clock, seconds since 1970 (now)" },
        { "json", doc = "as JSON" },
    },
    words = { 1, 2 },
}

local function read(path)
    local text, err = cli.read(path)
    if not text then cli.fail(("%s: %s"):format(path, err)) end
    return text
end

local function ask_of(opts, words)
    local text = table.concat(words, " ")
    local method, url = text:match("^(%u[%u%-]*)%s+(%S+)$")
    if not method then
        method = (opts.data or opts.data_file) and "POST" or "GET"
        url = text:match("^(%S+)$")
    end
    if not url then cli.fail("expected 'METHOD URL', got '" .. text .. "'") end
    if not url:find("^https?://") and not url:find("^/") then
        cli.fail(("%q is no http:// or https:// URL and no path"):format(url))
    end
    local lines = {}
    for i, header in ipairs(opts.header or {}) do
        if not header:find("^[%w!#$%%&'*+%-.^_`|~]+:") or header:find("[\r\n%z]") then
            cli.fail(("%q is no 'name: value'"):format(header))
        end
        lines[i] = header
    end
    local body = opts.data
    if opts.data_file then body = read(opts.data_file) end
    local host
    for i = #lines, 1, -1 do
        local given = lines[i]:match("^[Hh][Oo][Ss][Tt]:%s*(.-)%s*$")
        if given then
            host = given
            table.remove(lines, i)
        end
    end
    return { method = method, url = url, headers = lines, body = body, from = opts.from,
        host = host }
end

-- The site in a lab; without its start hooks when they fail for want of a network.
local function open(lab_of, opts, notes)
    local settings = { strays = "refuse", overrides = opts.overrides, budget = false,
        time = tonumber(opts.time) or os.time() }
    local path = cli.path(opts.site)
    local ok, lab = pcall(lab_of.open, path, settings)
    if ok then return lab end
    settings.start = false
    local bare, again = pcall(lab_of.open, path, settings)
    if not bare then cli.fail(tostring(lab)) end
    notes[#notes + 1] = "start hooks failed and are left out: " .. tostring(lab):gsub("\n.*", "")
    return again
end

-- What is at a place: text, or { status, headers, body }.
local function put(lab, place, answer)
    if type(answer) ~= "table" then answer = { body = tostring(answer) } end
    local status, headers = answer.status or 200, {}
    if type(status) ~= "number" or status < 200 or status > 599
        or (answer.headers ~= nil and type(answer.headers) ~= "table")
        or (answer.body ~= nil and type(answer.body) ~= "string") then
        cli.fail(("%s: an answer is { status, headers, body }"):format(place))
    end
    for name, value in pairs(answer.headers or {}) do headers[name] = tostring(value) end
    local ok, err = pcall(lab.serve, lab, place, function()
        return { status = status, headers = headers, body = answer.body or "" }
    end)
    if not ok then cli.fail(tostring(err)) end
end

local function serve(lab, opts)
    for _, text in ipairs(opts.serve or {}) do
        local place, body = text:match("^([^=]+:%d+)=(.*)$")
        if not place then cli.fail(("--serve takes HOST:PORT=TEXT, not %q"):format(text)) end
        put(lab, place, body)
    end
    if opts.answers then
        local all, err = json.decode(read(opts.answers))
        if type(all) ~= "table" then
            cli.fail(("%s: %s"):format(opts.answers, err or "no JSON object"))
        end
        for place, answer in pairs(all) do put(lab, tostring(place), answer) end
    end
    lab.world:apply()
end

-- What was refused is told once by the core, and the lab asks.
local function keep_strays(core)
    local ask, kept = core.strays, {}
    core.strays = function()
        local text = ask()
        kept[#kept + 1] = text
        return text
    end
    return function()
        core.strays()
        return table.concat(kept)
    end
end

local function note_refused(strays, notes)
    local seen = {}
    for kind, where in strays():gmatch("(%S+) ([^\n]*)\n?") do
        local note = ("refused: %s %s"):format(kind, where)
        if not seen[note] then notes[#notes + 1] = note end
        seen[note] = true
    end
end

function M.main(argv)
    local opts, words = args.read(argv, M.SPEC)
    local status = tonumber(opts.answer)
    if not status or status < 200 or status > 599 or status % 1 ~= 0 then
        cli.fail("--answer takes a status from 200 to 599")
    end
    local ask = ask_of(opts, words)
    local lab_of, explain = require("rproxy.lab"), require("rproxy.explain")
    local notes, strays = {}, keep_strays(lab_of.core)
    local lab = open(lab_of, opts, notes)
    serve(lab, opts)
    local ran, story = pcall(explain.run, lab, ask,
        { status = status, body = "stand-in\n", headers = { ["content-type"] = "text/plain" } })
    if not ran then cli.fail(tostring(story)) end
    note_refused(strays, notes)
    story.notes = notes
    local text = opts.json and json.encode(story, { sort = true, invalid = "replace" }) .. "\n"
        or explain.text(story, ask, notes)
    io.stdout:write(text)
    return explain.is_refused(story) and 1 or 0
end

return M
