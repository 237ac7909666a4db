-- SPDX-License-Identifier: MIT
local c = require("spec.support.c")
local site = require("spec.support.site")
local ffi = c.ffi
local C = c.load { "proxy/trace.h", "proxy/hook.h", "http/token.h", "base/arena.h" }

local TOKEN = "0123456789abcdef"

-- C calls back into this VM, which it may not while compiled code runs.
jit.off()

local function ok(err) assert.equal("OK", c.err_name(err)) end

describe("proxy/trace", function()
    local keep, conf, hooks, begun

    local function text(key, value)
        ok(C.rp_conf_set_text(conf, c.str(key), c.str(value)))
    end

    before_each(function()
        local s = site.new()
        conf, begun = s.conf, 0
        keep = { s }
        text("trace.token", TOKEN)
        hooks = ffi.new("struct rp_hooks")
        hooks.trace = ffi.cast("void (*)(struct rp_req *)", function() begun = begun + 1 end)
        conf.hooks = hooks
    end)
    after_each(function()
        hooks.trace:free()
        conf.hooks = nil
    end)

    local function request(fields)
        local r = ffi.new("struct rp_req")
        local room = ffi.new("struct rp_field[32]")
        keep[#keep + 1] = { r, room }
        r.conf = conf
        C.rp_arena_init(r.x.arena, nil, 0, 65536)
        C.rp_msg_init(r.x.head, room, 32, 32)
        for _, field in ipairs(fields) do
            local name, value = c.str(field[1]), c.str(field[2])
            keep[#keep + 1] = { name, value, field }
            ok(C.rp_msg_add(r.x.head, r.x.arena, C.rp_token_header(name.ptr, name.len), name, value))
        end
        return r
    end

    local function names(r)
        local out = {}
        for i = 0, tonumber(r.x.head.fields_n) - 1 do
            local f = r.x.head.fields[i]
            if f.name_n > 0 then out[#out + 1] = ffi.string(f.name, f.name_n):lower() end
        end
        return out
    end

    local function look(fields)
        local r = request(fields)
        C.rp_trace_look(r)
        local left = names(r)
        C.rp_arena_reset(r.x.arena)
        return left
    end

    it("is on with a token", function()
        local other = site.new()
        assert.equal(0, tonumber(other.conf.trace_token.len))
        assert.equal(#TOKEN, tonumber(conf.trace_token.len))
        assert.equal("x-rproxy-trace", c.lua(conf.trace_header))
    end)

    it("leaves requests without the header alone", function()
        assert.same({ "host", "x-other" }, look { { "Host", "a" }, { "X-Other", TOKEN } })
        assert.equal(0, begun)
    end)

    it("begins with the right token, and the header goes", function()
        assert.same({ "host" }, look { { "Host", "a" }, { "X-Rproxy-Trace", TOKEN } })
        assert.equal(1, begun)
    end)

    it("takes the header away with any value, in every line", function()
        for _, wrong in ipairs { "", "0", TOKEN .. "0", TOKEN:sub(2), TOKEN:upper() } do
            assert.same({ "host" }, look { { "x-rproxy-trace", wrong }, { "Host", "a" },
                { "X-RPROXY-TRACE", wrong } })
        end
        assert.equal(0, begun)
        assert.same({}, look { { "x-rproxy-trace", "wrong" }, { "x-rproxy-trace", TOKEN } })
        assert.equal(1, begun)
    end)

    it("may have another name, also one that is known", function()
        text("trace.header", "x-request-id")
        assert.same({ "x-rproxy-trace" }, look { { "X-Rproxy-Trace", TOKEN },
            { "X-Request-Id", TOKEN } })
        assert.equal(1, begun)
    end)

    it("does nothing where no hooks are", function()
        conf.hooks = nil
        assert.same({}, look { { "x-rproxy-trace", TOKEN } })
    end)
end)
