-- SPDX-License-Identifier: MIT

local c = require("spec.support.c")
local ffi = c.ffi

local C = c.load { "process/plan.h", "proxy/conf.h", "base/buf.h" }

-- A frozen configuration with three listeners, two files and a user.
local function new_conf()
    local conf = C.rp_conf_new(1)
    local index, err = ffi.new("uint32_t[1]"), ffi.new("struct rp_conf_error")
    local function ok(e) assert.equal("OK", c.err_name(e)) end
    ok(C.rp_conf_set_number(conf, c.str("workers"), 3))
    ok(C.rp_conf_set_number(conf, c.str("timeouts.drain_ms"), 1500))
    ok(C.rp_conf_set_text(conf, c.str("user"), c.str("web")))
    ok(C.rp_conf_set_text(conf, c.str("pid_file"), c.str("/run/x.pid")))
    ok(C.rp_conf_add_listener(conf, c.str("127.0.0.1:8080"), false, index, err))
    ok(C.rp_conf_add_listener(conf, c.str("unix:/run/x.sock"), false, index, err))
    ok(C.rp_conf_add_upstream(conf, c.str("u"), index, err))
    ok(C.rp_conf_add_peer(conf, index[0], c.str("127.0.0.1:1"), 1, false, err))
    ok(C.rp_conf_add_stream(conf, index))
    ok(C.rp_conf_set_stream(conf, 0, c.str("upstream"), 0))
    ok(C.rp_conf_add_stream_listener(conf, 0, c.str("udp:127.0.0.1:8080"), index, err))
    ok(C.rp_conf_add_file(conf, c.str("stdout"), index))
    ok(C.rp_conf_add_file(conf, c.str("/var/log/e.log"), index))
    ok(C.rp_conf_add_zone(conf, c.str("flags"), 1, 65536, 0))
    ok(C.rp_conf_add_zone(conf, c.str("limits"), 3, 2 ^ 32, 77))
    assert.equal("INVALID", c.err_name(C.rp_conf_add_zone(conf, c.str "x", 5, 65536, -1)))
    for _, bad in ipairs { { "flags", 1, 65536 }, { "", 1, 65536 }, { ("x"):rep(33), 1, 65536 },
        { "x", 0, 65536 }, { "x", 8, 65536 }, { "x", 1, 0 }, { "x", 1, 0 / 0 },
        { "x", 1, 2 ^ 37 } } do
        assert.equal("INVALID", c.err_name(C.rp_conf_add_zone(conf, c.str(bad[1]), bad[2],
            bad[3], 0)))
    end
    ok(C.rp_conf_set_number(conf, c.str("log.error_file"), 1))
    ok(C.rp_conf_freeze(conf, err))
    return conf
end

local WATCHED = { "/c/a.pem", "/c/*.crt" }

local function flat()
    local watched, keep = ffi.new("struct rp_plan_watched[2]"), {}
    for i, path in ipairs(WATCHED) do
        keep[i] = c.str(path)
        watched[i - 1].path, watched[i - 1].stamp = keep[i], i * 2 ^ 40
    end
    local buf = ffi.new("struct rp_buf")
    C.rp_buf_init(buf, 1e6)
    local cf = new_conf()
    C.rp_plan_save(cf, c.str("the bundle"), c.str("words"), watched, #WATCHED, buf)
    local text = c.lua(C.rp_buf_str(buf))
    C.rp_buf_fini(buf)
    C.rp_conf_free(ffi.new("struct rp_conf *[1]", { cf }))
    return text
end

local function load(text)
    local out = ffi.new("struct rp_plan *[1]")
    local e = C.rp_plan_load(c.str(text), out)
    return c.err_name(e), out
end

describe("process/plan", function()
    it("gives back what was saved", function()
        local text = flat()
        local e, p = load(text)
        assert.equal("OK", e)
        assert.equal(#WATCHED, p[0].watched_n)
        for i, path in ipairs(WATCHED) do
            assert.equal(path, c.lua(p[0].watched[i - 1].path))
            assert.equal(i * 2 ^ 40, tonumber(p[0].watched[i - 1].stamp))
        end
        assert.equal(3, p[0].workers)
        assert.equal(1500, tonumber(p[0].drain_ms))
        assert.equal("web", c.lua(p[0].user))
        assert.equal("/run/x.pid", c.lua(p[0].pid_file))
        assert.equal(3, p[0].listeners_n)
        assert.same({ false, false, true }, { p[0].listeners[0].udp, p[0].listeners[1].udp,
            p[0].listeners[2].udp })
        assert.equal("udp:127.0.0.1:8080", c.lua(p[0].listeners[2].text))
        assert.equal("127.0.0.1:8080", c.lua(p[0].listeners[0].text))
        assert.equal(8080, p[0].listeners[0].addr.port)
        assert.equal("/run/x.sock", ffi.string(p[0].listeners[1].addr.unix_path))
        assert.equal(2, p[0].files_n)
        assert.equal("/var/log/e.log", c.lua(p[0].files[1]))
        assert.equal(1, p[0].error_log_file)
        assert.equal(2, p[0].zones_n)
        assert.same({ "limits", 3, 2 ^ 32 }, { c.lua(p[0].zones[1].name), p[0].zones[1].kind,
            tonumber(p[0].zones[1].bytes) })
        assert.equal(77, tonumber(p[0].zones[1].tag))
        assert.equal("the bundle", c.lua(p[0].bundle))
        assert.equal("words", c.lua(p[0].description))
        C.rp_plan_free(p)
        assert.is_true(p[0] == nil)
    end)

    it("refuses every shortened form and a lengthened one", function()
        local text = flat()
        for n = 0, #text - 1 do
            assert.equal("INVALID", (load(text:sub(1, n))), "first " .. n .. " bytes")
        end
        assert.equal("INVALID", (load(text .. "x")))
    end)

    it("survives any damage: what it accepts stays inside its bounds", function()
        local text = flat()
        math.randomseed(1)
        local accepted, refused = 0, 0
        for _ = 1, 20000 do
            local at, byte = math.random(#text), string.char(math.random(0, 255))
            local bad = text:sub(1, at - 1) .. byte .. text:sub(at + 1)
            local e, p = load(bad)
            if e == "OK" then
                accepted = accepted + 1
                assert.is_true(p[0].workers >= 1 and p[0].workers <= C.RP_PLAN_WORKERS_MOST)
                for i = 0, tonumber(p[0].listeners_n) - 1 do
                    local a = p[0].listeners[i].addr
                    assert.is_true(a.family ~= 0)
                    if a.family == C.RP_ADDR_UNIX then
                        assert.is_true(#ffi.string(a.unix_path) < 108)
                    end
                    assert.is_nil(c.lua(p[0].listeners[i].text):find("%c"))
                end
                assert.is_true(p[0].error_log_file < p[0].files_n
                    or p[0].error_log_file == 0xffffffff)
                C.rp_plan_free(p)
            else
                refused = refused + 1
                assert.equal("INVALID", e)
            end
        end
        assert.is_true(accepted > 0 and refused > 0)
    end)
end)
