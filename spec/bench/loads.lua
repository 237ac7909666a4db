-- SPDX-License-Identifier: MIT
--
-- loads: who asks: wrk, h2load, or load.c at times of its own; and whether the answers are right.
--
-- A load has path, conns and of this: bytes (of the right answer), upload (the origin's file that is
-- sent), count (so many requests, however long they take), close (a connection per request),
-- tls, streams (HTTP/2), headers (so many in each request and each answer), paths (asked in turn),
-- by load.c: open (at fixed times; rate a second, or a share of it) or closed (again and again, for a
-- short time that is measured to the end), hold (connections are made beforehand), turns (each in its
-- turn), flight (so many requests at a time).

local machine = require("spec.bench.machine")
local posix = require("spec.support.posix")

local M = {}

local OUT = machine.OUT
local UNITS = { us = 1, ms = 1000, s = 1000000 }
local PATHS_MOST = 1000
local TIMEOUT_MS = 10000
local FETCH_SECONDS = 60

--- Build the open loop.
function M.build()
    local out = machine.run("cc -O2 -Wall -Wextra -D_GNU_SOURCE -o " .. OUT
        .. "/load spec/bench/load.c")
    if out ~= "" then error(out, 0) end
end

local function pinned(command)
    return machine.run(table.concat(machine.pin(machine.cores().load), " ") .. " " .. command)
end

local function path_of(load)
    if load.paths then return ("/r%d/x"):format(load.paths) end
    return load.path
end

local function url_of(entry)
    local load = entry.load
    return ("%s://127.0.0.1:%d%s"):format(load.tls and "https" or "http",
        load.tls and entry.tlsport or entry.port, path_of(load))
end

local function header_args(load)
    local out = {}
    for i = 1, load.headers or 0 do
        out[i] = ("-H 'X-Bench-%03d: some value or other'"):format(i)
    end
    if load.close then out[#out + 1] = "-H 'Connection: close'" end
    return table.concat(out, " ")
end

-- ---------------------------------------------------------------- are the answers right?

local function body_of(load)
    return OUT .. "/files/" .. load.upload
end

-- Files of `n` fetches, all in one connection.
local function fetch(entry, n)
    local parts = {}
    for i = 1, n do parts[i] = ("-o %s/got %s"):format(OUT, url_of(entry)) end
    if entry.load.upload then
        parts[#parts + 1] = "-H Expect: --data-binary @" .. body_of(entry.load)
    end
    return machine.run(("curl -ksS %s --max-time %d %s -D %s/got.head -w '%%{http_code} "
        .. "%%{size_download} ' %s"):format(entry.load.streams and "--http2" or "--http1.1",
        FETCH_SECONDS, header_args(entry.load), OUT, table.concat(parts, " ")))
end

local function has_headers(entry)
    local n = entry.load.headers
    if not n then return true end
    local head = posix.read_file(OUT .. "/got.head"):lower()
    local _, answers = head:gsub("\nx%-answer%-%d", "")
    if not head:find("\nx%-seen: some value or other\r") then
        return nil, "the origin does not see the last header"
    end
    if answers < n then return nil, ("%d of %d headers come back"):format(answers, n) end
    return true
end

local function ask(entry, path)
    return machine.run(("curl -sS --max-time 10 -i 'http://127.0.0.1:%d%s'"):format(entry.port, path))
end

-- The policy of sites/lua.lua: what it adds arrives, and it refuses.
local function has_policy(entry)
    if entry.site ~= "lua" then return true end
    local seen = ask(entry, "/seen"):lower()
    if not seen:find("\r\n\r\nann 1$") then return nil, "the origin does not see the policy" end
    if not (seen:find("\nx%-policy: ok\r") and seen:find("\nx%-served%-by: ")) then
        return nil, "answers lack the policy's headers"
    end
    if not ask(entry, "/.git"):find("^HTTP/1.1 403") then return nil, "/.git is not refused" end
    return true
end

--- Three requests on one connection (one of a large body) must bring the right bytes.
function M.check(entry)
    local load = entry.load
    local n = (load.bytes > 2 ^ 24 or load.count) and 1 or 3
    local out, want = fetch(entry, n), ("200 %d "):format(load.bytes):rep(n)
    if out ~= want then return nil, ("answers %q, not %q"):format(out:sub(1, 300), want) end
    local file = OUT .. "/files" .. load.path
    if not posix.exists(file) then
        file = OUT .. "/want"
        posix.write_file(file, load.upload and ("%d"):format(#posix.read_file(body_of(load)))
            or ("x"):rep(64))
    end
    if machine.run(("cmp %s/got %s"):format(OUT, file)) ~= "" then
        return nil, "the body is not the origin's"
    end
    local ok, why = has_headers(entry)
    if not ok then return nil, why end
    return has_policy(entry)
end

-- ---------------------------------------------------------------- load

local PATHS = [[
local paths, at = {}, 0
function init()
    for i = 1, %(asked) do paths[i] = wrk.format("GET", ("/r%d/x"):format((i - 1) * %(step) + 1)) end
end
function request()
    at = at % #paths + 1
    return paths[at]
end
]]

local function paths_script(n)
    local path = ("%s/paths-%d.lua"):format(OUT, n)
    local asked = math.min(n, PATHS_MOST)
    posix.write_file(path, machine.fill(PATHS, { asked = asked, step = math.floor(n / asked) }))
    return "-s " .. path
end

local function upload_script(load)
    local path = OUT .. "/upload-" .. load.upload .. ".lua"
    posix.write_file(path, ('wrk.method = "POST"\nwrk.body = ("x"):rep(%d)\n'):format(
        #posix.read_file(body_of(load))))
    return "-s " .. path
end

local function script_of(load)
    return load.paths and paths_script(load.paths) or load.upload and upload_script(load) or ""
end

local function wrk(entry, seconds)
    local load = entry.load
    local text = pinned(("wrk -t1 -c%d -d%ds --latency %s %s %s"):format(load.conns, seconds,
        header_args(load), script_of(load), url_of(entry)))
    local requests = tonumber(text:match("(%d+) requests in "))
    if not requests or requests == 0 then return nil, text end
    local function latency(percent)
        local value, unit = text:match("%s" .. percent .. "%%%s+([%d.]+)(%a+)")
        return value and tonumber(value) * (UNITS[unit] or 0)
    end
    local trouble = text:match("Non%-2xx[^\n]*") or text:match("Socket errors[^\n]*")
    return { requests = requests, rate = tonumber(text:match("Requests/sec:%s+([%d.]+)")),
        p50_us = latency("50"), p99_us = latency("99"), trouble = trouble }
end

-- It tells no percentiles; those who failed are told and not counted.
local function h2load(entry, seconds)
    local load = entry.load
    local text = pinned(("h2load -t1 -c%d %s %s %s %s"):format(load.conns,
        load.streams and "-m" .. load.streams or "--h1",
        load.count and "-n" .. load.count or "-D" .. seconds,
        load.upload and "-d " .. body_of(load) or "", url_of(entry)))
    local requests, failed = text:match("(%d+) succeeded, (%d+) failed")
    requests = tonumber(requests)
    if not requests or requests == 0 then return nil, text end
    return { requests = requests, rate = tonumber(text:match("([%d.]+) req/s")),
        trouble = failed ~= "0" and failed .. " failed" or nil }
end

local function words_of(load)
    local out = {}
    if load.hold then out[#out + 1] = "open" end
    if load.turns then out[#out + 1] = "turns" end
    if load.closed then out[#out + 1] = "closed" end
    if load.flight then out[#out + 1] = "flight=" .. load.flight end
    return table.concat(out, " ")
end

local function own_loop(entry, seconds)
    local load = entry.load
    local text = pinned(("%s/load 127.0.0.1 %d %s %g %d %g %d %s watch=%s"):format(OUT, entry.port,
        path_of(load), load.rate, load.conns, seconds, TIMEOUT_MS, words_of(load),
        table.concat(posix.tree(entry.pid), ",")))
    local due, ok, failed, p50, p99, p999 =
        text:match("all (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) %d+")
    if not ok or ok == "0" then return nil, text:sub(-400) end
    return { requests = tonumber(ok), rate = tonumber(due) / seconds, p50_us = tonumber(p50),
        p99_us = tonumber(p99), p999_us = tonumber(p999), cpu_ns = tonumber(text:match("cpu (%d+)")),
        trouble = failed ~= "0" and failed .. " failed" or nil }
end

--- Load for some seconds: { requests, rate, p50_us, p99_us, p999_us, cpu_ns, trouble }, of which
--- load.c alone tells p999_us and cpu_ns and h2load no latency; nil and the text when there was none.
function M.run(entry, seconds)
    local load = entry.load
    local by = (load.streams or load.count) and h2load or (load.open or load.closed) and own_loop or wrk
    return by(entry, seconds)
end

--- Load that is not measured; tools that know whole seconds alone take them.
function M.warm(entry, seconds)
    local is_ours = entry.load.open or entry.load.closed
    return M.run(entry, is_ours and seconds or math.ceil(seconds))
end

return M
