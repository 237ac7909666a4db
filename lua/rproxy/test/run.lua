-- SPDX-License-Identifier: MIT
--
-- run: `rproxy test`: busted in this VM. Its parts are used one by one, as its own command does, so
-- that exit status and what is said at the end are ours.

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")

local M = {}

M.SPEC = {
    usage = "test [FILE|FOLDER..]",
    about = [[Run specs: files that end in _spec.lua, written for busted. Without words all of them
        below plugins/ and spec/ are run, from the folder that the site lies in. require
        "rproxy.test" gives a spec its sites; the guide is docs/guide/testing.md.

        Specs run with the rights of whoever calls. Exit status: 0 all passed, 1 some did not, 2
        they could not be run.]],
    options = {
        { "filter", short = "f", value = "PATTERN", list = true,
            doc = "only tests whose full name matches this Lua pattern" },
        { "filter-out", value = "PATTERN", list = true, doc = "not those that match" },
        { "tags", short = "t", value = "TAG", list = true, doc = "only tests with this #tag" },
        { "output", short = "o", value = "NAME", doc = "utfTerminal, plainTerminal, TAP, junit, "
            .. "json, or a handler of your own (.lua)" },
        { "seed", value = "NUMBER", doc = "dice of the sites; the order of --shuffle" },
        { "shuffle", doc = "run files and tests in another order each time" },
        { "update-golden", doc = "keep what t.golden compares" },
        { "coverage", doc = "tell which lines of plugins were run (slower: nothing is compiled)" },
        { "coverage-file", value = "FILE", doc = "write that as lcov, too" },
        { "list", doc = "only list the tests" },
        { "log", doc = "print the error log of each test, not of failed ones only" },
        { "times", doc = "tell the processor time of each test" },
        { "stop", doc = "stop at the first failure" },
    },
    words = { 0, 10000 },
}

local FOLDERS = { "plugins", "spec" }

-- ---------------------------------------------------------------- what is needed

local function need_busted()
    if pcall(require, "busted.core") then return end
    cli.fail("busted is not installed: on Debian and Ubuntu, apt-get install lua-busted; else "
        .. "luarocks --lua-version 5.1 install busted")
end

-- Modules of the layer stay from file to file: busted puts back what was loaded before each, and a
-- module that is loaded a second time is another one. Those, too, that are otherwise loaded late.
local LAYER = { "rproxy", "rproxy.lab", "rproxy.test", "rproxy.test.aborts",
    "rproxy.test.coverage", "rproxy.config.describe", "rproxy.json", "rproxy.log",
    "rproxy.loader", "rproxy.regex", "rproxy.vm", "rproxy.request", "rproxy.conn",
    "rproxy.decision", "rproxy.shadow", "rproxy.breaker" }

local function load_layer()
    for _, name in ipairs(LAYER) do require(name) end
end

-- Code of plugins and sites is confined, also when a spec requires it. What helps specs is not:
-- modules whose names begin with spec. or test.
local function load_helper(name)
    if not name:find("^specs?%.") and not name:find("^tests?%.") then return nil end
    local stem = "./" .. name:gsub("%.", "/")
    for _, path in ipairs { stem .. ".lua", stem .. "/init.lua" } do
        local file = io.open(path, "rb")
        if file then
            local chunk, err = load(file:read("*a"), "@" .. path:sub(3))
            file:close()
            return chunk or error(err, 0)
        end
    end
    return "\n\tno file " .. stem .. ".lua"
end

-- ---------------------------------------------------------------- files

local function mode_of(path)
    return require("lfs").attributes(path, "mode")
end

local function files_below(folder, list)
    local lfs, names = require("lfs"), {}
    for name in lfs.dir(folder) do
        if name:sub(1, 1) ~= "." then names[#names + 1] = name end
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local path = folder .. "/" .. name
        local mode = mode_of(path)
        if mode == "directory" then files_below(path, list)
        elseif mode == "file" and name:find("_spec%.lua$") then list[#list + 1] = path end
    end
    return list
end

local function files_of(words)
    local list, roots = {}, words
    if #words == 0 then
        roots = {}
        for _, folder in ipairs(FOLDERS) do
            if mode_of(folder) == "directory" then roots[#roots + 1] = folder end
        end
        if #roots == 0 then cli.fail("no folder plugins or spec here: name the files") end
    end
    for _, root in ipairs(roots) do
        local mode = mode_of(root)
        if mode == "directory" then files_below(root:gsub("/$", ""), list)
        elseif mode then list[#list + 1] = root
        else cli.fail(root .. ": no such file or folder") end
    end
    if #list == 0 then cli.fail("no file here ends in _spec.lua") end
    return list
end

-- ---------------------------------------------------------------- checks of ours

local function add_assertions(t)
    local assert, say = require("luassert"), require("say")
    say:set("assertion.no_aborts.positive", "hooks that ran often were not all compiled:\n%s")
    say:set("assertion.no_aborts.negative", "all hooks were compiled:\n%s")
    assert:register("assertion", "no_aborts", function(_, given)
        local lines = t.aborts(given[1])
        given[1] = "  " .. table.concat(lines, "\n  ")
        given.nofmt = { true }
        return #lines == 0
    end, "assertion.no_aborts.positive", "assertion.no_aborts.negative")
end

-- ---------------------------------------------------------------- running

-- What the core said during a test that failed, for the end.
local function watch(busted, t, said, count)
    local failed, from = {}, 0
    busted.subscribe({ "test", "start" }, function()
        failed, from = {}, os.clock()
        t.begin_test()
        return nil, true
    end, { priority = 1 })
    busted.subscribe({ "test", "end" }, function(element, parent, status)
        local log = t.end_test()
        table.insert(count.times, { (os.clock() - from) * 1000, element.name })
        if status == "failure" or status == "error" then
            failed = { name = element.name, log = log, parent = parent }
            if log ~= "" then said[#said + 1] = failed end
        elseif count.log and log ~= "" then
            said[#said + 1] = { name = element.name, log = log }
        end
        if status == "success" then count.passed = count.passed + 1 end
        return nil, true
    end, { priority = 1 })
    busted.subscribe({ "error" }, function()
        count.failed = count.failed + 1
        busted.skipAll = count.stop
        return nil, true
    end)
    busted.subscribe({ "failure" }, function()
        count.failed = count.failed + 1
        busted.skipAll = count.stop
        return nil, true
    end)
end

local function is_terminal()
    local found, term = pcall(require, "term")
    return found and term.isatty(io.stdout)
end

local function set_up(opts, seed)
    local busted = require("busted.core")()
    require("busted")(busted)
    local default = is_terminal() and "utfTerminal" or "plainTerminal"
    busted.randomize, busted.randomseed, busted.sort = opts.shuffle, seed, false
    require("busted.modules.output_handler_loader")()(busted, opts.output or default, {
        defaultOutput = default, verbose = false, suppressPending = false, language = "en",
        deferPrint = false, arguments = {}, enableSound = false })
    require("busted.luajit")()
    require("busted.modules.filter_loader")()(busted, { tags = opts.tags or {}, excludeTags = {},
        filter = opts.filter or {}, filterOut = opts.filter_out or {}, list = opts.list,
        nokeepgoing = opts.stop, suppressPending = false, names = {}, excludeNames = {},
        excludeNamesFile = {} })
    return busted
end

local function load_files(busted, files)
    local loader = require("busted.modules.test_file_loader")(busted, { "lua" })
    loader(files, { "" }, { excludes = {}, verbose = false, recursive = true })
end

local function tell_times(times)
    table.sort(times, function(a, b) return a[1] > b[1] end)
    for _, one in ipairs(times) do io.stdout:write(("%9.2f ms  %s\n"):format(one[1], one[2])) end
    local middle = times[math.ceil(#times / 2)]
    if middle then io.stdout:write(("%9.2f ms in the middle of %d\n"):format(middle[1], #times)) end
end

local LINES_MOST = 40 -- of the error log of one test

local function last_lines(log)
    local lines, out = {}, {}
    for line in log:gmatch("[^\n]+") do lines[#lines + 1] = line end
    local first = math.max(1, #lines - LINES_MOST + 1)
    if first > 1 then out[1] = ("(%d lines before)"):format(first - 1) end
    for i = first, #lines do out[#out + 1] = lines[i] end
    return table.concat(out, "\n  ")
end

local function tell(said, count, seed)
    for _, one in ipairs(said) do
        io.stderr:write(("\nerror log during %q:\n  %s\n"):format(one.name, last_lines(one.log)))
    end
    if count.failed > 0 then
        io.stderr:write(("\ndice of this run: rproxy test --seed %d\n"):format(seed))
    end
end

--- @param argv string[]
--- @return number  exit status
function M.main(argv)
    local opts, words = args.read(argv, M.SPEC)
    table.insert(package.loaders, 3, load_helper)
    need_busted()
    load_layer()
    local files = files_of(words)
    local seed = tonumber(opts.seed or "1") or cli.fail("--seed wants a number")
    local t = require("rproxy.test")
    t.run.seed, t.run.update_golden = seed, opts.update_golden
    t.run.folder = require("lfs").currentdir() .. "/"
    require("rproxy.lab").look_in(t.run.folder)
    -- Tests are over before compiling pays, and what is interpreted can be stopped by its CPU
    -- budget. assert.no_aborts compiles.
    jit.off()
    jit.flush()
    local busted = set_up(opts, seed)
    t.run.fail = busted.fail
    local said, count = {}, { passed = 0, failed = 0, stop = opts.stop or nil, log = opts.log,
        times = {} }
    watch(busted, t, said, count)
    add_assertions(t)
    load_files(busted, files)
    local cover = (opts.coverage or opts.coverage_file) and require("rproxy.test.coverage").start(t)
    require("busted.execute")(busted)(1, { seed = seed, shuffle = opts.shuffle })
    if cover then cover:stop() end
    busted.publish({ "exit" })
    io.stdout:flush()
    local open = require("rproxy.lab").current()
    if open then open:close() end
    tell(said, count, seed)
    if opts.times then tell_times(count.times) end
    if cover then cover:report(opts.coverage_file) end
    return count.failed > 0 and 1 or 0
end

return M
