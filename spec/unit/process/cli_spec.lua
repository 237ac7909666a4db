-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local ffi = c.ffi

local C = c.load { "process/cli.h", "base/buf.h" }

-- { mode, site, command, daemon, pid_path, user, overrides } or nil, error
local function parse(...)
    local words = { "rproxy", ... }
    local argv = ffi.new("char *[?]", #words + 1)
    local keep = {}
    for i, word in ipairs(words) do
        keep[i] = ffi.new("char[?]", #word + 1, word)
        argv[i - 1] = keep[i]
    end
    local cli, buf = ffi.new("struct rp_cli"), ffi.new("struct rp_buf")
    C.rp_buf_init(buf, 4096)
    local e = C.rp_cli_parse(cli, #words, argv, buf)
    local function z(p) return p ~= nil and ffi.string(p) or nil end
    local got = { mode = tonumber(cli.mode), site = z(cli.site), command = z(cli.command),
        daemon = cli.daemon or nil, pid_path = z(cli.pid_path), user = c.lua(cli.user),
        overrides = c.lua(C.rp_buf_str(cli.overrides)) }
    local words_of_error = c.lua(C.rp_buf_str(buf))
    C.rp_buf_fini(buf)
    C.rp_cli_fini(cli)
    if e ~= 0 then return nil, words_of_error end
    return got
end

describe("process/cli", function()
    it("serves a site", function()
        assert.same({ mode = C.RP_CLI_SERVE, site = "s.lua" }, parse("-p", "s.lua"))
        assert.same({ mode = C.RP_CLI_SERVE, site = "s.lua", daemon = true },
            parse("--daemon", "--site=s.lua"))
    end)

    it("knows short and long forms", function()
        for form, mode in pairs { ["-t"] = C.RP_CLI_CHECK, ["--check"] = C.RP_CLI_CHECK,
            ["-T"] = C.RP_CLI_EXPLAIN, ["--explain"] = C.RP_CLI_EXPLAIN } do
            assert.equal(mode, parse(form, "-p", "s.lua").mode)
        end
        for form, mode in pairs { ["-v"] = C.RP_CLI_VERSION, ["--version"] = C.RP_CLI_VERSION,
            ["-V"] = C.RP_CLI_LIBRARIES, ["--libraries"] = C.RP_CLI_LIBRARIES,
            ["-h"] = C.RP_CLI_HELP, ["--help"] = C.RP_CLI_HELP } do
            assert.equal(mode, parse(form).mode)
        end
    end)

    it("takes commands before and after the options", function()
        for _, word in ipairs { "reload", "stop", "quit", "reopen", "status" } do
            local got = parse(word, "-p", "s.lua")
            assert.same({ C.RP_CLI_COMMAND, word, "s.lua" }, { got.mode, got.command, got.site })
            assert.equal(word, parse("-p", "s.lua", word).command)
        end
    end)

    it("takes only pid= with a command: a running master keeps its options", function()
        assert.equal("/x/y.pid", parse("reload", "-p", "s.lua", "-g", "pid=/x/y.pid").pid_path)
        local got, words = parse("reload", "-p", "s.lua", "-g", "workers=2")
        assert.is_nil(got)
        assert.truthy(words:find("keeps its options", 1, true))
    end)

    it("collects overrides, and sees what concerns it in them", function()
        local got = parse("-p", "s.lua", "-g", "workers=2", "--set", "pid=/x/y.pid",
            "-g", "user=web")
        assert.equal("workers=2\npid=/x/y.pid\nuser=web\n", got.overrides)
        assert.equal("/x/y.pid", got.pid_path)
        assert.equal("web", got.user)
    end)

    it("explains wrong usage in one line that leads to -h", function()
        for what, words in pairs {
            ["unknown option %-x"] = { "-x", "-p", "s.lua" },
            ["unknown option %-%-bogus"] = { "--bogus", "-p", "s.lua" },
            ["value is missing after %-p"] = { "-p" },
            ["value is missing after %-%-site"] = { "--site" },
            ["which site"] = { "-t" },
            ["unknown command explode"] = { "explode", "-p", "s.lua" },
            ["one command at a time"] = { "stop", "quit", "-p", "s.lua" },
            ["only one of"] = { "-t", "-T", "-p", "s.lua" },
            ["%-g wants name=value, not workers"] = { "-g", "workers", "-p", "s.lua" },
            ["%-g wants name=value"] = { "-g", "a=b\nc=d", "-p", "s.lua" },
            ["%-d is for serving"] = { "-d", "-t", "-p", "s.lua" },
        } do
            local got, err = parse(unpack(words))
            assert.is_nil(got)
            assert.match(what, err)
            assert.match("rproxy %-h", err)
        end
    end)
end)
