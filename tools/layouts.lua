-- SPDX-License-Identifier: MIT
--
-- layouts: memory that outlives a program (a binary upgrade hands it on) must not change its layout
-- under the same name.
--
--   luajit tools/layouts.lua             compare; exit status 1 and what to do, if they differ
--   luajit tools/layouts.lua --update    write tools/layouts.txt anew
--
-- Each part of runtime/process/parts.c has a fingerprint: of all structs, unions, enums and macros
-- of the files that lay it out, without comments. A change of these that leaves the memory as it
-- was (a member of a struct that is no part of it) needs an update, any other a higher number.

local bit = require("bit")
local ffi = require("ffi")

local KEPT = "tools/layouts.txt"
local COMMON = { "shm/zone.h", "shm/lock.h" }
local FILES = {
    crumbs = { "shm/crumb.h", "shm/crumb.c" },
    counters = { "shm/counter.h", "shm/counter.c" },
    metrics = { "shm/metric.h", "shm/metric_in.h", "shm/metric.c" },
    tickets = { "shm/keyring.h", "shm/keyring.c" },
    early = { "shm/once.h", "shm/once.c" },
    census = { "shm/census.h", "shm/census.c" },
    roster = { "shm/roster.h", "shm/roster_in.h", "shm/roster_gate.h", "shm/roster.c",
        "shm/roster_gate.c", "base/histogram.h" },
    staples = { "shm/dict.h", "shm/dict_in.h", "shm/dict.c", "proxy/staples.h" },
    splits = { "shm/splits.h", "shm/splits.c", "base/histogram.h" },
    members = { "shm/members.h", "shm/members.c" },
    orders = { "shm/members.h", "shm/members.c" },
    sticky = { "shm/dict.h", "shm/dict_in.h", "shm/dict.c", "proxy/sticky.h" },
}

local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

-- Definitions of types and constants; functions lay nothing out.
local function definitions(path)
    local text = read("runtime/" .. path):gsub("/%*.-%*/", " "):gsub("\\\n", " ")
    local found = {}
    for macro in text:gmatch("#define[^\n]+") do found[#found + 1] = macro end
    for kind in ("struct union enum"):gmatch("%a+") do
        for name, body in text:gmatch("%f[%w_]" .. kind .. "%s*([%w_]*)%s*(%b{})") do
            found[#found + 1] = kind .. " " .. name .. body
        end
    end
    return table.concat(found, "\n"):gsub("%s+", " ")
end

-- FNV-1a, 64 bits, as hex digits.
local function fingerprint(text)
    local hash = 0xcbf29ce484222325ULL
    for i = 1, #text do
        hash = bit.bxor(hash, ffi.cast("uint64_t", text:byte(i))) * 0x100000001b3ULL
    end
    return bit.tohex(hash, 16)
end

local function layout(part)
    local files = FILES[part:match("^%a+")]
    if not files then error("tools/layouts.lua does not know the files of the part " .. part, 0) end
    local texts = {}
    for _, list in ipairs { COMMON, files } do
        for _, path in ipairs(list) do texts[#texts + 1] = definitions(path) end
    end
    return fingerprint(table.concat(texts, "\n"))
end

local now, lines = {}, {}
local names = read("runtime/process/parts.c"):match("PARTS%[%] = (%b{})")
for part in names:gmatch('"(%a+%d+)"') do
    now[part] = layout(part)
    lines[#lines + 1] = part .. " " .. now[part]
end
assert(#lines > 0, "no parts found")
table.sort(lines)

if arg[1] == "--update" then
    local file = assert(io.open(KEPT, "wb"))
    file:write(table.concat(lines, "\n"), "\n")
    file:close()
    return
end

local kept, bad = {}, 0
for part, print in read(KEPT):gmatch("(%a+%d+) (%x+)\n") do kept[part] = print end
for part, print in pairs(now) do
    if kept[part] ~= print then
        bad = bad + 1
        io.stderr:write(part, kept[part] and ": its definitions changed. If its memory did, raise "
            .. "the number in runtime/process/parts.c; then" or " is new:",
            " run luajit tools/layouts.lua --update\n")
    end
end
if bad > 0 then os.exit(1) end
print(("layouts: %d shared parts are as they were"):format(#lines))
