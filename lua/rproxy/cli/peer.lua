-- SPDX-License-Identifier: MIT
--
-- peer: `rproxy peer`: what the operator says about a peer of a running instance.

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")

local M = {}

M.SPEC = {
    usage = "peer -p site.lua UPSTREAM PEER ready|drain|maint|weight=N|weight=auto|reset|"
        .. "add ..|remove",
    about = [[Change how a peer of a running instance is used, at once and in all workers. It is
        not written anywhere: reloads keep it, a restart does not.

        ready: as configured. drain: nothing new. maint: nothing at all, not even in a panic.
        weight=N: another weight, 0 to 65535. weight=auto: the site's. reset: its counts begin anew,
        its failures are forgotten, and it does not rest.

        add: one more peer, which may be followed by weight=N, priority=N, backup, max_conns=N,
        zone=NAME and meta.KEY=VALUE. remove: it gets nothing new, and what is under way there ends
        in peace. A peer of the site that was removed comes back with add.

        Exit status: 0 done, 1 no such peer or word, 2 trouble.]],
    site = "needed",
    words = { 3, 48 },
}

local SECONDS = 10

function M.main(argv)
    local opts, words = args.read(argv, M.SPEC)
    for i, word in ipairs(words) do
        if word:find("%c") then cli.fail(("%q has control characters in it"):format(word), 1) end
        if word == "" or word:find('[ "\\]') then
            words[i] = '"' .. word:gsub('["\\]', "\\%0") .. '"'
        end
    end
    cli.connect(opts.site, opts.overrides)
    local status, text = cli.order("peer " .. table.concat(words, " "), SECONDS)
    if status ~= 0 then cli.fail(text, 1) end
    io.stdout:write(text, "\n")
    return 0
end

return M
