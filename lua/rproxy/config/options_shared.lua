-- SPDX-License-Identifier: MIT
--
-- options_shared: the rows of rp.shm; options.lua says what a row is.


local M = {}

M.shm = {
    { name = "size", type = "size", required = true, shown = "required", min = 64 * 1024,
        max = 2 ^ 36,
        doc = "Bytes of the zone. Memory is taken as it is used. Another size in a reload is a "
            .. "new, empty zone." },
}

M.shm_set = {
    M.shm[1],
    { name = "type", type = "enum", values = { "cidr", "string", "domain", "regex" },
        required = true, shown = "required",
        doc = "What the lines of the file are: networks and addresses, texts, names of domains "
            .. "(with all below them), regular expressions." },
    { name = "file", type = "string", required = true, shown = "required",
        doc = "The file; relative to the folder of site.lua. Workers read it, with their "
            .. "account." },
    { name = "every", type = "duration", default = "5s", min = 0.1, max = 86400,
        doc = "How often it is looked at. One that changed is read anew." },
}

return M
