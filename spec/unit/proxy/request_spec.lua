-- SPDX-License-Identifier: MIT
--
-- request: slots and handles, and what hooks may do to a request between two steps. A request waits
-- here for its upstream's name or answer while the spec plays the hook.

local inproc = require("spec.support.inproc")

local C, ffi, c = inproc.C, inproc.ffi, inproc.c

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

describe("rp_req", function()
    local p, client

    before_each(function()
        p = inproc.open { numbers = { ["limits.body_bytes"] = 1000 } }
        client = p:client()
    end)
    after_each(function() p:close() end)

    local function get(path) return "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n" end

    -- A live request that waits for its upstream's response, and the upstream's end.
    local function waiting(request)
        client:send(request or get("/x"))
        local up = p:accept()
        up:head()
        return p.raw.live, up
    end

    it("is found by its handle until it ends", function()
        local r, up = waiting()
        local slot, gen = r.slot, r.slot_gen
        assert.is_true(C.rp_req_find(p.raw, slot, gen) == r)
        assert.is_true(C.rp_req_find(p.raw, slot, gen + 1) == nil)
        assert.is_true(C.rp_req_find(p.raw, slot + 1000, gen) == nil)
        up:send(OK)
        client:recv_until("ok")
        p:idle()
        assert.is_true(C.rp_req_find(p.raw, slot, gen) == nil)
        client:send(get("/y"))
        p:until_true(function() return p.raw.live ~= nil end)
        assert.is_true(p.raw.live == r) -- the slot again
        assert.equal(gen + 1, r.slot_gen)
        assert.is_true(C.rp_req_find(p.raw, slot, gen) == nil)
    end)

    it("has one id of 32 digits", function()
        local r = waiting()
        local id = c.lua(C.rp_req_id(r))
        assert.matches("^%x+$", id)
        assert.equal(32, #id)
        assert.equal(id, c.lua(C.rp_req_id(r)))
    end)

    it("says what it waits for", function()
        local r = waiting()
        assert.equal("AWAIT", ffi.string(C.rp_step_name(r.step)))
        assert.equal("upstream response head", ffi.string(r.waiting_for))
        assert.equal("?", ffi.string(C.rp_step_name(99)))
    end)

    it("edits a copy of the head", function()
        local r = waiting(get("/x"))
        local m = C.rp_req_edit_up(r)
        assert.is_true(r.up_head == m)
        assert.is_true(C.rp_req_edit_up(r) == m) -- one copy
        C.rp_msg_del(m, C.RP_H_HOST, c.str("host"))
        assert.equal("a", c.lua(C.rp_msg_get(r.x.head, C.RP_H_HOST)))
    end)

    it("may be answered until its head is sent, the last answer counts", function()
        local r = waiting()
        local none = ffi.new("rp_str")
        assert.equal(0, C.rp_req_answer(r, C.RP_FROM_PLUGIN, 403, none, c.str("first")))
        assert.equal(0, C.rp_req_answer(r, C.RP_FROM_PLUGIN, 418, c.str("a/b"), c.str("second")))
        assert.equal(418, r.res.status)
        assert.equal("a/b", c.lua(C.rp_msg_get(r.res, C.RP_H_CONTENT_TYPE)))
        assert.equal(6, tonumber(r.out.bytes))
        r.x.head_sent = true
        assert.equal("PHASE", c.err_name(C.rp_req_answer(r, C.RP_FROM_PLUGIN, 200, none, none)))
        r.x.head_sent = false
    end)

    it("does not touch the body or the upstream once sending began", function()
        local r = waiting()
        assert.equal("PHASE", c.err_name(C.rp_req_buffer_body(r, 10)))
        assert.equal("PHASE", c.err_name(C.rp_req_set_body(r, c.str("x"))))
        assert.equal("PHASE", c.err_name(C.rp_req_set_upstream(r, 0)))
    end)

    describe("played by hooks", function()
        local hooks, actions

        -- Give the site's generation a rewrite chain that runs actions[1], [2], ...; an action's
        -- result is the hook's.
        before_each(function()
            hooks, actions = ffi.new("struct rp_hooks"), {}
            hooks.run = p.env:callback("rp_err (*)(struct rp_req *, enum rp_phase)", function(r)
                local action = actions[1]
                if not action then return 0 end
                local e = action(r)
                if e ~= 1 then table.remove(actions, 1) end
                return e
            end)
            hooks.cancel = p.env:callback("void (*)(struct rp_req *)", function() end)
            hooks.forget = hooks.cancel
            hooks.drop_generation = p.env:callback("void (*)(struct rp_conf *)", function() end)
            p.conf.hooks = hooks
            for i = 0, p.conf.routes_n - 1 do
                p.conf.routes[i].chains.at[C.RP_PHASE_REWRITE] = 1
            end
        end)

        local function post(body, more)
            return "POST /x HTTP/1.1\r\nHost: a\r\n" .. (more or "") .. "Content-Length: " .. #body
                .. "\r\n\r\n"
        end

        it("buffers a body that comes in parts, and sends it with its length", function()
            local calls = 0
            actions[1] = function(r)
                calls = calls + 1
                return C.rp_req_buffer_body(r, 100)
            end
            client:send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                .. "3\r\nabc\r\n")
            p:until_true(function() return calls > 0 end)
            client:send("3\r\ndef\r\n0\r\n\r\n")
            local up = p:accept()
            assert.matches("\r\nContent%-Length: 6\r\n", up:head())
            up:recv_until("abcdef")
            up:send(OK)
            client:recv_until("ok")
            assert.is_true(calls >= 2)
        end)

        it("invites a body that the client holds back, without telling the upstream", function()
            actions[1] = function(r) return C.rp_req_buffer_body(r, 100) end
            client:send(post("body", "Expect: 100-continue\r\n"))
            assert.equal("HTTP/1.1 100 Continue\r\n\r\n", client:head())
            client:send("body")
            local up = p:accept()
            assert.is_nil(up:head():lower():find("expect", 1, true))
            up:recv_until("body")
            up:send(OK)
            client:recv_until("ok")
        end)

        it("refuses to buffer more than it should", function()
            actions[1] = function(r) return C.rp_req_buffer_body(r, 3) end
            client:send(post("abcd") .. "abcd")
            assert.matches("^HTTP/1.1 413 ", client:head())
        end)

        it("sends another body in the place of the client's", function()
            actions[1] = function(r) return C.rp_req_set_body(r, c.str("other body")) end
            client:send(post("abcd") .. "abcd")
            local up = p:accept()
            assert.matches("\r\nContent%-Length: 10\r\n", up:head())
            up:recv_until("other body")
            up:send(OK)
            client:recv_until("ok")
            actions[1] = function(r) return C.rp_req_set_body(r, c.str("added")) end
            client:send(get("/x"))
            assert.matches("\r\nContent%-Length: 5\r\n", up:head())
            up:recv_until("added")
            up:send(OK)
            client:recv_until("ok")
        end)

        it("repeats a GET on a stale connection although a hook asked for its body", function()
            actions[1] = function(r) return C.rp_req_buffer_body(r, 100) end
            actions[2] = actions[1]
            client:send(get("/x"))
            local up = p:accept()
            up:head()
            up:send(OK)
            client:recv_until("ok")
            client:send(get("/x"))
            up:head()
            up:reset()
            up = p:accept()
            assert.matches("^GET", up:head())
            up:send(OK)
            client:recv_until("ok")
        end)

        it("ends a request whose hook never comes back", function()
            p.conf.hook_wait_ms = 30
            actions[1] = function() return 1 end
            client:send(get("/x"))
            assert.matches("^HTTP/1.1 500 ", client:head())
        end)
    end)
end)
