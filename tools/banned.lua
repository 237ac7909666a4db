-- SPDX-License-Identifier: MIT
--
-- banned: whole identifiers of tools/banned.txt must not occur in C code (comments and strings
-- do not count).
--
--   luajit tools/banned.lua FILES

local function read(path)
    local f = assert(io.open(path, "rb"))
    local text = f:read("*a")
    f:close()
    return text
end

-- Blank out comments, strings and includes; newlines stay, so that lines keep their numbers.
local function code_only(text)
    text = ("\n" .. text):gsub("\n[ \t]*#[ \t]*include[^\n]*", "\n"):sub(2)
    local out, at = {}, 1
    local function blank(upto)
        out[#out + 1] = text:sub(at, upto):gsub("[^\n]", " ")
        at = upto + 1
    end
    while at <= #text do
        local from = text:find('["\'/]', at)
        if not from then break end
        out[#out + 1] = text:sub(at, from - 1)
        at = from
        local two = text:sub(from, from + 1)
        if two == "/*" then
            blank(select(2, text:find("*/", from + 2, true)) or #text)
        elseif two == "//" then
            blank((text:find("\n", from, true) or #text + 1) - 1)
        elseif two:sub(1, 1) == "/" then
            out[#out + 1] = "/"
            at = from + 1
        else
            local quote, i = two:sub(1, 1), from + 1
            while i <= #text and text:sub(i, i) ~= quote do
                i = i + (text:sub(i, i) == "\\" and 2 or 1)
            end
            blank(i)
        end
    end
    out[#out + 1] = text:sub(at)
    return table.concat(out)
end

local banned, names_n = {}, 0
for line in io.lines("tools/banned.txt") do
    local name, instead = line:match("^([%a_][%w_]*)%s+(.+)$")
    if name then
        banned[name] = instead
        names_n = names_n + 1
    end
end

local hits = 0
for _, path in ipairs(arg) do
    local n = 0
    for line in (code_only(read(path)) .. "\n"):gmatch("([^\n]*)\n") do
        n = n + 1
        for name in line:gmatch("%f[%w_][%a_][%w_]*") do
            -- req->signal and .signal are fields, not the function
            if banned[name] and not line:find("[%.>]%s*" .. name .. "%f[^%w_]") then
                print(("%s:%d: %s is banned; instead: %s"):format(path, n, name, banned[name]))
                hits = hits + 1
            end
        end
    end
end
print(("banned: %d names, %d files, %d uses"):format(names_n, #arg, hits))
os.exit(hits == 0 and 0 or 1)
