-- SPDX-License-Identifier: MIT
--
-- dns_main: the process of spec/support/dns.lua: answers from a file that the spec writes anew.
--
--   luajit dns_main.lua PORT FILE
--
-- FILE returns { ["name"] = { ttl =, a = { "10.0.0.1" }, aaaa = { hex of 16 bytes }, srv = { { priority,
-- weight, port, "target" } } } }; a name that is not there does not exist; mode = "silent": no answers
-- at all, "fail": SERVFAIL.

local socket = require("socket")

local port, path = tonumber(arg[1]), arg[2]
local server = assert(socket.udp())
assert(server:setsockname("127.0.0.1", port))
print("bound")
io.stdout:flush()

local TYPES = { [1] = "a", [28] = "aaaa", [33] = "srv" }

local function u16(n) return string.char(math.floor(n / 256), n % 256) end

local function name_bytes(name)
    local out = {}
    for label in name:gmatch("[^.]+") do out[#out + 1] = string.char(#label) .. label end
    return table.concat(out) .. "\0"
end

local DATA = {}
function DATA.a(text)
    return (text:gsub("(%d+)%.?", function(n) return string.char(tonumber(n)) end))
end
function DATA.aaaa(hex)
    return (hex:gsub("%x%x", function(h) return string.char(tonumber(h, 16)) end))
end
function DATA.srv(r)
    return u16(r[1]) .. u16(r[2]) .. u16(r[3]) .. name_bytes(r[4])
end

local function read_question(query)
    local at, labels = 13, {}
    while query:byte(at) ~= 0 do
        local n = query:byte(at)
        labels[#labels + 1] = query:sub(at + 1, at + n)
        at = at + n + 1
    end
    return table.concat(labels, "."):lower(), query:byte(at + 1) * 256 + query:byte(at + 2),
        query:sub(13, at + 4)
end

while true do
    local query, host, from = server:receivefrom()
    local chunk = loadfile(path)
    local state = chunk and chunk() or {}
    if query and state.mode ~= "silent" then
        local name, qtype, question = read_question(query)
        local entry, kind = state[name], TYPES[qtype]
        local records, body = entry and kind and entry[kind] or {}, {}
        for _, r in ipairs(records) do
            local data = DATA[kind](r)
            local ttl = entry.ttl or 60
            body[#body + 1] = "\192\12" .. u16(qtype) .. u16(1) .. u16(math.floor(ttl / 65536))
                .. u16(ttl % 65536) .. u16(#data) .. data
        end
        local rcode = state.mode == "fail" and 2 or entry and 0 or 3
        server:sendto(query:sub(1, 2) .. u16(0x8180 + rcode) .. u16(1) .. u16(#body) .. u16(0)
            .. u16(0) .. question .. table.concat(body), host, from)
    end
end
