-- SPDX-License-Identifier: MIT
local options = require("rproxy.config.options")

-- Keys of the tables of runtime/proxy/conf.tbl, by their letter.
local function conf_keys()
    local keys = { N = {}, T = {}, U = {}, R = {}, S = {}, V = {} }
    for line in io.lines("runtime/proxy/conf.tbl") do
        local letter, key = line:match('^(%u)%("([%w_.]+)"')
        if letter then
            keys[letter] = keys[letter] or {}
            keys[letter][key] = line
        end
    end
    return keys
end

local function fields_of(line)
    local first = line:match("^%u%([^,]+,[^,]+,%s*([^,]+),")
    return first
end

describe("rproxy.config.options", function()
    local keys = conf_keys()

    local where = { site = { "N", "T" }, upstream = { "U" }, route = { "R", "S" } }

    it("names only keys that the C side has", function()
        for group, letters in pairs(where) do
            for _, row in ipairs(options[group]) do
                local found = row.conf == nil or row.conf == "host_header"
                    or row.conf == "deadline_header"
                for _, letter in ipairs(letters) do
                    found = found or keys[letter][row.conf] ~= nil
                end
                assert.is_true(found, group .. "." .. row.name .. " -> " .. tostring(row.conf))
            end
        end
    end)

    it("sets every number of the site, the upstreams and the routes", function()
        local set_by_code = { ["workers"] = true, ["tls.watch"] = true,
            ["forward.bits"] = true, ["via.on"] = true, ["record.on"] = true, ["log.level"] = true,
            ["log.error_file"] = true, ["log.decisions_file"] = true, balance = true,
            balance_chain = true, hash_bound = true, hedge_max = true, hedge_ms = true,
            hedge_quantile = true, coalesce_max = true, coalesce_ms = true,
            circuit_on = true, outlier_on = true, limit_on = true, fallback = true,
            subset_any = true, live = true, sticky_mode = true,
            retry_on = true, fail_on = true, health = true, agent = true,
            proxy_protocol = true, proxy_tlvs = true, http = true, action = true, status = true, meta = true }
        for group, letter in pairs { site = "N", upstream = "U", route = "R" } do
            local named = {}
            for _, row in ipairs(options[group]) do
                if row.conf then named[row.conf] = true end
            end
            for key in pairs(keys[letter]) do
                assert.is_true(named[key] or set_by_code[key] or false, group .. " " .. key)
            end
        end
    end)

    it("has the defaults that conf.tbl has", function()
        local units = { MB = 2 ^ 20, SECOND = 1000 }
        for group, letter in pairs { site = "N", upstream = "U" } do
            for _, row in ipairs(options[group]) do
                local line = row.conf and keys[letter][row.conf]
                local text = line and fields_of(line):gsub("UINT64_C%((%d+)%)", "%1")
                local value = text and loadstring("local MB, SECOND = ... return " .. text)
                if value and text:find("^[%d%s*MBSECOND]+$") then
                    local node = options.nodes[group]
                    for part in row.name:gmatch("[^.]+") do node = node.fields[part] end
                    local schema = require("rproxy.schema")
                    local ours = schema.check(node, node.default, "", schema.context())
                    if type(ours) == "boolean" then ours = ours and 1 or 0 end
                    assert.equal(value(units.MB, units.SECOND), ours * (row.scale or 1), row.name)
                end
            end
        end
    end)

    it("documents every row", function()
        for _, group in ipairs(options.groups) do
            for _, row in ipairs(options[group]) do
                assert.is_true(type(row.doc) == "string" and #row.doc > 0,
                    group .. "." .. row.name)
            end
        end
    end)
end)
