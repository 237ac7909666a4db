-- SPDX-License-Identifier: MIT
--
-- lint_hooks: what the code of hooks should not do, found in the tree that luacheck's parser makes.
--
-- A hook is a function at a place that the site's model names, or one that is written as the value
-- of a name of a hook: { access = function(req) .. end }, function hooks.access(req), content = ...

local M = {}

-- Hooks that run for each request; init, start and stop do not.
local HOT = { early = true, access = true, rewrite = true, content = true, balance = true,
    request_body = true, header_filter = true, body_filter = true, log = true, connect = true,
    tls_hello = true, certificate = true }

local ANSWERS = { exit = true, redirect = true, replace = true }
local PATTERNS = { find = true, match = true, gmatch = true, gsub = true }
-- Made once, used often.
local CONSTRUCTORS = { regex = true, lru = true, redis = true, queue = true, lock = true,
    semaphore = true, cidr = true, ring = true, http = "client" }
-- Who waits for a function has no trace to lose.
local TAKES_FUNCTIONS = { spawn = true, all = true, any = true, deadline = true, detach = true,
    after = true, every = true, fetch = true, once = true, pcall = true, xpcall = true,
    write_with = true, stream = true, sse = true, with = true, pipeline = true }

local Walk = {}
Walk.__index = Walk

function Walk:add(node, code, fmt, ...)
    self.found(node, code, select("#", ...) > 0 and fmt:format(...) or fmt)
end

-- ---------------------------------------------------------------- names

local function is_id(node, name)
    return type(node) == "table" and node.tag == "Id" and (name == nil or node[1] == name)
end

local function key_of(node)
    return type(node) == "table" and node.tag == "String" and node[1] or nil
end

-- rp.a.b -> { "rp", "a", "b" }; nil when it is something else.
local function path_of(node)
    if is_id(node) then return { node[1] } end
    if type(node) ~= "table" or node.tag ~= "Index" or not key_of(node[2]) then return nil end
    local path = path_of(node[1])
    if path then path[#path + 1] = key_of(node[2]) end
    return path
end

function Walk:is_rp(node)
    return is_id(node) and self.rp_names[node[1]] == true
end

-- ---------------------------------------------------------------- scopes

-- What a hook declares itself: a stack of sets of names, down to the hook's own function.
function Walk:declare(vars)
    local top = self.scopes[#self.scopes]
    for _, var in ipairs(vars) do
        if is_id(var) and top then top[var[1]] = true end
    end
end

function Walk:is_own(name)
    for _, scope in ipairs(self.scopes) do
        if scope[name] then return true end
    end
    return false
end

function Walk:scoped(vars, run)
    self.scopes[#self.scopes + 1] = {}
    self:declare(vars)
    run()
    self.scopes[#self.scopes] = nil
end

-- ---------------------------------------------------------------- calls

-- node is Call or Invoke: its name and where its arguments begin.
local function called(node)
    if node.tag == "Invoke" then return key_of(node[2]), 3 end
    local path = path_of(node[1])
    return path and path[#path], 2
end

function Walk:check_constructor(node)
    local path = node.tag == "Call" and path_of(node[1])
    if not path or not self.rp_names[path[1]] or not path[2] then return end
    local want = CONSTRUCTORS[path[2]]
    if want and (want == true and #path == 2 or path[3] == want) then
        self:add(node, "hook-construct", "rp.%s in a hook (make it once, in setup)",
            table.concat(path, ".", 2))
    end
end

local function is_plain_find(node, first)
    local flag = node[first + (node.tag == "Invoke" and 2 or 3)]
    return type(flag) == "table" and flag.tag == "True"
end

function Walk:check_pattern(node, name, first)
    local path = node.tag == "Call" and path_of(node[1])
    local is_string = node.tag == "Invoke" or path and path[1] == "string" and #path == 2
    if not PATTERNS[name] or not is_string then return end
    if node.tag == "Invoke" and (self:is_regex_name(node[1]) or name == "match" and is_id(node[1],
        "req")) then return end
    if name == "find" and is_plain_find(node, first) then return end
    if node.tag == "Invoke" and not key_of(node[first]) then return end -- a regex has these, too
    self:add(node, "hook-pattern", "string.%s with a Lua pattern (rp.regex made in setup, or "
        .. "find(text, 1, true))", name)
end

-- local word = rp.regex(..): word:match is no matter.
function Walk:is_regex_name(node)
    return is_id(node) and self.regex_names[node[1]] == true
end

local HEADER_CALLS = { headers = true, args = true, cookies = true }

function Walk:check_pairs(node)
    if not is_id(node[1]) or node[1][1] ~= "pairs" and node[1][1] ~= "ipairs" then return end
    local what = node[2]
    local name = type(what) == "table" and (what.tag == "Invoke" or what.tag == "Index")
        and key_of(what[2])
    if name and HEADER_CALLS[name] and is_id(what[1]) and (what[1][1] == "req"
        or what[1][1] == "res" or what[1][1] == "up") then
        self:add(node, "pairs-headers", "%s over %s of %s (write: for name, value in %s:%s() do)",
            node[1][1], name, what[1][1], what[1][1], name)
    end
end

function Walk:call(node)
    local name, first = called(node)
    if self.hook then
        self:check_constructor(node)
        if name then self:check_pattern(node, name, first) end
        if is_id(node[1], "require") and node.tag == "Call" then
            self:add(node, "hook-require", "require in a hook (do it at the top of the file)")
        end
    end
    if node.tag == "Call" then self:check_pairs(node) end
    local excused = self.excused
    for i, part in ipairs(node) do
        self.excused = name and TAKES_FUNCTIONS[name] and i >= first and part or nil
        self:visit(part)
    end
    self.excused = excused
end

-- ---------------------------------------------------------------- functions and blocks

local function is_answer(node)
    return type(node) == "table" and node.tag == "Invoke" and ANSWERS[key_of(node[2]) or ""]
        and is_id(node[1]) and (node[1][1] == "req" or node[1][1] == "res") and key_of(node[2])
end

-- req:exit(..) as a statement, unless `return` with a value is next.
function Walk:check_answers(block)
    for i, node in ipairs(block) do
        local name = is_answer(node)
        local after = block[i + 1]
        local returns = after and after.tag == "Return" and after[1] ~= nil
        if name and self.hook and not returns and (name ~= "replace" or is_id(node[1], "res")) then
            self:add(node, "unreturned-exit", "the hook goes on after %s:%s (write: return "
                .. "%s:%s(...))", node[1][1], name, node[1][1], name)
        end
    end
end

function Walk:block(block)
    self:check_answers(block)
    for _, node in ipairs(block) do self:visit(node) end
end

function Walk:enter(node, is_hook)
    local hook, scopes, loop = self.hook, self.scopes, self.loop
    if is_hook then self.hook, self.scopes = true, {} end
    self.loop = 0
    self:scoped(node[1], function() self:block(node[2]) end)
    self.hook, self.scopes, self.loop = hook, scopes, loop
end

local function in_excuse(excused, node)
    if excused == node then return true end
    if type(excused) ~= "table" or excused.tag ~= "Table" then return false end
    for _, item in ipairs(excused) do
        if item == node or item.tag == "Pair" and item[2] == node then return true end
    end
    return false
end

function Walk:func(node, named)
    local is_hook = named or self.places[node.line] == true
    if self.hook and not is_hook and not in_excuse(self.excused, node) then
        self:add(node, "hook-closure", "a function is made in a hook (make it in setup, or at the "
            .. "top of the file)")
    end
    local excused = self.excused
    self.excused = nil
    self:enter(node, is_hook)
    self.excused = excused
end

-- A value that stands under a name: perhaps a hook.
function Walk:named(key, value)
    if type(value) == "table" and value.tag == "Function" and key and HOT[key]
        and #value[1] > 0 then
        self:func(value, true)
    elseif value then
        self:visit(value)
    end
end

-- ---------------------------------------------------------------- statements

local visit = {}

visit.Function = function(self, node) self:func(node) end
visit.Call = Walk.call
visit.Invoke = Walk.call

function visit.Table(self, node)
    if self.hook and self.loop > 0 then
        self:add(node, "hook-table", "a table in each turn of a loop (make it before the loop)")
    end
    for _, item in ipairs(node) do
        if item.tag == "Pair" then
            self:visit(item[1])
            self:named(key_of(item[1]), item[2])
        else
            self:visit(item)
        end
    end
end

function visit.Op(self, node)
    for i = 2, #node do self:visit(node[i]) end
end

-- s = s .. x
local function grows(target, value)
    return is_id(target) and type(value) == "table" and value.tag == "Op" and value[1] == "concat"
        and is_id(value[2], target[1])
end

function visit.Set(self, node)
    for i, target in ipairs(node[1]) do
        local value = node[2][i]
        if self.hook and self.loop > 0 and grows(target, value) then
            self:add(node, "hook-concat", "%s grows in a loop (collect in a table, then "
                .. "table.concat; or string.buffer)", target[1])
        end
        local name = is_id(target) and target[1]
        if self.hook and name and not self:is_own(name) and self.locals[name] then
            self:add(target, "hook-upvalue", "%s is one variable for all requests of the worker "
                .. "(req.ctx is per request, rp.shared for all workers)", name)
        end
        if not is_id(target) then self:visit(target) end
        local key = not is_id(target) and target.tag == "Index" and key_of(target[2])
        self:named(key, value)
    end
end

function visit.Local(self, node)
    for i, value in ipairs(node[2] or {}) do
        self:note_local(node[1][i], value)
        self:named(nil, value)
    end
    for _, var in ipairs(node[1]) do self.locals[var[1]] = true end
    self:declare(node[1])
end

function visit.Localrec(self, node)
    for _, var in ipairs(node[1]) do self.locals[var[1]] = true end
    self:declare(node[1])
    for _, value in ipairs(node[2]) do self:visit(value) end
end

-- What rp and regular expressions are called here.
function Walk:note_local(var, value)
    if not var or type(value) ~= "table" or value.tag ~= "Call" then return end
    if is_id(value[1], "require") and key_of(value[2]) == "rproxy" then
        self.rp_names[var[1]] = true
    end
    local path = path_of(value[1])
    if path and self.rp_names[path[1]] and path[2] == "regex" then
        self.regex_names[var[1]] = true
    end
end

-- rp.NAME, rp.LIBRARY.NAME
function Walk:check_rp(node, path)
    local members = self.rp_fields
    if #path == 3 then members = members[path[2]] end
    if #path > 3 or type(members) ~= "table" or members[path[#path]] then return end
    self:add(node, "unknown-rp", "%s has no %q%s", #path == 2 and "rproxy" or "rp." .. path[2],
        path[#path], self.hint(path[#path], members))
end

function visit.Index(self, node)
    local path = self.rp_fields and path_of(node)
    if path and self.rp_names[path[1]] then self:check_rp(node, path) end
    self:visit(node[1])
    if not key_of(node[2]) then self:visit(node[2]) end
end

function visit.Fornum(self, node)
    for i = 2, #node - 1 do self:visit(node[i]) end
    self.loop = self.loop + 1
    self:scoped({ node[1] }, function() self:block(node[#node]) end)
    self.loop = self.loop - 1
end

function visit.Forin(self, node)
    for _, item in ipairs(node[2]) do self:visit(item) end
    self.loop = self.loop + 1
    self:scoped(node[1], function() self:block(node[3]) end)
    self.loop = self.loop - 1
end

local function loop_of(cond, body)
    return function(self, node)
        self:visit(node[cond])
        self.loop = self.loop + 1
        self:scoped({}, function() self:block(node[body]) end)
        self.loop = self.loop - 1
    end
end
visit.While = loop_of(1, 2)
visit.Repeat = loop_of(2, 1)

function visit.Do(self, node)
    self:scoped({}, function() self:block(node) end)
end

-- If is { cond, block, cond, block .., else_block }.
function visit.If(self, node)
    for i = 1, #node, 2 do
        local block = node[i + 1]
        if block then
            self:visit(node[i])
            self:scoped({}, function() self:block(block) end)
        else
            self:scoped({}, function() self:block(node[i]) end)
        end
    end
end

function Walk:visit(node)
    if type(node) ~= "table" then return end
    local of = visit[node.tag]
    if of then return of(self, node) end
    for _, part in ipairs(node) do self:visit(part) end
end

--- @param ast table
--- @param opts table  places (set of lines where hooks of the model begin), rp_fields (set; sets of
---   libraries in it), found(node, code, text), hint(name, among)
function M.check(ast, opts)
    local self = setmetatable({ places = opts.places or {}, found = opts.found, hook = false,
        scopes = {}, loop = 0, locals = {}, rp_names = {}, regex_names = {},
        rp_fields = opts.rp_fields, hint = opts.hint }, Walk)
    self:block(ast)
end

return M
