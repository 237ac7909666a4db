-- SPDX-License-Identifier: MIT
--
-- hooks: run the hooks of a plugin in plain LuaJIT, on heads that record what is done to them.
--
--   local hooks = require("spec.support.hooks")
--   local run = hooks.of("headers", '{ request = { set = { a = "b" } } }')  -- Lua text of the conf
--   local req = hooks.request { ["x-a"] = "1" }                -- what the client sent
--   run.rewrite(req)
--   req.up.done       { "set a=b", ... }        res = hooks.response(); res.done

local config = require("spec.support.config")

local M = {}

local Head = {}
Head.__index = Head

function Head:get(name) return self.fields[name] end

for _, what in ipairs { "set", "add", "del" } do
    Head[what] = function(head, name, value)
        head.done[#head.done + 1] = what .. " " .. name .. (value and "=" .. value or "")
    end
end

local function head(fields)
    return setmetatable({ fields = fields or {}, done = {} }, Head)
end

--- Hooks by name of an instance built within a whole site, so its conf is checked and frozen.
function M.of(name, conf)
    local built = config.build(("local M = require('plugins.%s') "):format(name:gsub("-", "_"))
        .. config.minimal { site = ("use = { M %s },"):format(conf or "{}") })
    return built.model.use[1].hooks
end

function M.errors(name, conf)
    return config.errors(("local M = require('plugins.%s') "):format(name:gsub("-", "_"))
        .. config.minimal { site = ("use = { M %s },"):format(conf) })
end

function M.request(fields)
    local req = head(fields)
    req.id, req.ctx, req.up = "0123456789abcdef0123456789abcdef", {}, head()
    return req
end

M.response = head

return M
