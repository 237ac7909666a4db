-- SPDX-License-Identifier: MIT
--
-- payload: request bodies through hooks that the spec plays: what they are given, what goes up, what
-- happens when a try fails.

local inproc = require("spec.support.inproc")

local C, ffi, c = inproc.C, inproc.ffi, inproc.c

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
local AGAIN, END = 1, 2

describe("rp_payload", function()
    local p, client, hooks, filter, source, rewrite, cancelled

    local function bytes(chain)
        local n = tonumber(chain.bytes)
        local out = ffi.new("char[?]", n + 1)
        C.rp_chain_peek(chain, out, n)
        return ffi.string(out, n)
    end

    before_each(function()
        p = inproc.open {}
        client = p:client()
        hooks, filter, source, rewrite, cancelled = ffi.new("struct rp_hooks"), nil, nil, nil, 0
        hooks.run = p.env:callback("rp_err (*)(struct rp_req *, enum rp_phase)", function(r)
            return rewrite and rewrite(r) or 0
        end)
        hooks.filter_request = p.env:callback("rp_err (*)(struct rp_req *, struct rp_chain *, bool,"
            .. " struct rp_chain *)", function(r, piece, last, out)
            assert(r.phase == C.RP_PHASE_REQUEST_BODY)
            local made = filter(bytes(piece), last, r)
            if type(made) == "number" then return made end
            C.rp_chain_clear(piece)
            C.rp_chain_add_copy(out, c.str(made))
            return 0
        end)
        hooks.pull_body = p.env:callback("rp_err (*)(struct rp_req *, struct rp_chain *)",
            function(_, out)
                local made = source()
                if type(made) == "number" then return made end
                C.rp_chain_add_copy(out, c.str(made))
                return 0
            end)
        hooks.cancel = p.env:callback("void (*)(struct rp_req *)", function()
            cancelled = cancelled + 1
        end)
        hooks.forget = p.env:callback("void (*)(struct rp_req *)", function() end)
        hooks.drop_generation = p.env:callback("void (*)(struct rp_conf *)", function() end)
        p.conf.hooks = hooks
        for i = 0, p.conf.routes_n - 1 do
            p.conf.routes[i].chains.at[C.RP_PHASE_REQUEST_BODY] = 1
            p.conf.routes[i].chains.at[C.RP_PHASE_REWRITE] = 1
            p.conf.routes[i].special = true -- as freeze says of routes with such hooks
        end
    end)
    after_each(function() p:close() end)

    local function post(body, more)
        return "POST /x HTTP/1.1\r\nHost: a\r\n" .. (more or "") .. "Content-Length: " .. #body
            .. "\r\n\r\n" .. body
    end

    local function chunk(text) return ("%x\r\n%s\r\n"):format(#text, text) end

    it("tells the end with the last bytes of a length, and sends chunks", function()
        local seen = {}
        filter = function(piece, last)
            seen[#seen + 1] = { piece, last }
            return piece:upper()
        end
        client:send(post("hello"))
        local up = p:accept()
        local head = up:head()
        assert.matches("\r\nTransfer%-Encoding: chunked\r\n", head)
        assert.is_nil(head:find("Content-Length", 1, true))
        up:recv_until(chunk("HELLO") .. "0\r\n\r\n")
        assert.same({ { "hello", true } }, seen)
        up:send(OK)
        client:recv_until("ok")
    end)

    it("does not ask for requests without content", function()
        filter = function() error("never") end
        for _, request in ipairs { "GET /x HTTP/1.1\r\nHost: a\r\n\r\n", post("") } do
            client:send(request)
            local up = p:accept()
            assert.is_nil(up:head():find("chunked", 1, true))
            up:send(OK:gsub("ok$", "no"))
            client:recv_until("no")
            up:close()
            client:close()
            client = p:client()
        end
    end)

    it("goes on with the same piece when a hook is parked", function()
        local calls, ready = 0, false
        filter = function(piece)
            calls = calls + 1
            if not ready then return AGAIN end
            return piece .. "!"
        end
        client:send(post("hello"))
        local up = p:accept()
        p:until_true(function() return calls > 0 end)
        ready = true
        C.rp_req_wake(p.raw.live, C.RP_WAKE_TASK)
        up:recv_until(chunk("hello!") .. "0\r\n\r\n")
        up:send(OK)
        client:recv_until("ok")
    end)

    it("drops what hooks drop, and ends", function()
        filter = function() return "" end
        client:send(post("hello"))
        local up = p:accept()
        up:recv_until("\r\n\r\n0\r\n\r\n")
        up:send(OK)
        client:recv_until("ok")
    end)

    it("gives up the upstream when a hook answers", function()
        filter = function(_, _, r)
            assert(C.rp_req_answer(r, C.RP_FROM_PLUGIN, 403, ffi.new("rp_str"), c.str("no")) == 0)
            return END
        end
        client:send(post("hello"))
        local up = p:accept()
        assert.matches("^HTTP/1.1 403", client:recv_until("no"))
        up:recv_all()
    end)

    it("answers 500 when a hook fails", function()
        filter = function() return c.err("HOOK") end
        client:send(post("hello"))
        p:accept()
        assert.matches("^HTTP/1.1 500", client:recv_until("\r\n\r\n"))
    end)

    it("filters each byte once when a kept connection turns out to be closed", function()
        local seen = {}
        filter = function(piece)
            seen[#seen + 1] = piece
            return piece
        end
        client:send(post("one"))
        local up = p:accept()
        up:recv_until("0\r\n\r\n")
        up:send(OK)
        client:recv_until("ok")
        p:idle()
        up:close()
        client:send(post("two"):gsub("^POST", "PUT")) -- may be repeated
        local again = p:accept()
        again:recv_until(chunk("two") .. "0\r\n\r\n")
        again:send(OK)
        client:recv_until("ok")
        assert.same({ "one", "two" }, seen)
    end)

    it("goes on with a parked hook over another connection", function()
        local ready, calls = true, 0
        filter = function(piece)
            calls = calls + 1
            return ready and piece .. "." or AGAIN
        end
        client:send(post("one"))
        local up = p:accept()
        up:recv_until("0\r\n\r\n")
        up:send(OK)
        client:recv_until("ok")
        p:idle()
        ready, calls = false, 0
        client:send((post("two"):gsub("^POST", "PUT")))
        up:recv_until("PUT")
        p:until_true(function() return calls > 0 end)
        up:close()
        local again = p:accept()
        again:recv_until("PUT")
        ready = true
        C.rp_req_wake(p.raw.live, C.RP_WAKE_TASK)
        again:recv_until(chunk("two.") .. "0\r\n\r\n")
        again:send(OK)
        client:recv_until("ok")
        assert.equal(0, cancelled)
    end)

    it("filters whole what a hook has read, which then has a length", function()
        rewrite = function(r) return C.rp_req_buffer_body(r, 100) end
        filter = function(piece) return piece .. piece end
        client:send(post("hello"))
        local up = p:accept()
        assert.matches("\r\nContent%-Length: 10\r\n", up:head())
        up:recv_until("hellohello")
        up:send(OK)
        client:recv_until("ok")
    end)

    it("takes a function's bytes in place of the client's", function()
        local n = 0
        rewrite = function(r) return C.rp_payload_set_source(r) end
        filter = function(piece) return piece:upper() end
        source = function()
            n = n + 1
            return n < 3 and "piece" .. n or END
        end
        client:send(post("hello"))
        local up = p:accept()
        up:recv_until(chunk("PIECE1"))
        up:recv_until(chunk("PIECE2") .. "0\r\n\r\n")
        up:send(OK)
        client:recv_until("ok")
    end)

    it("sends nothing in place of what was taken", function()
        rewrite = function(r)
            assert(C.rp_payload_get(r) ~= nil)
            local e = C.rp_payload_read(r, 3)
            if e ~= 0 then return e end
            local out = ffi.new("char[3]")
            C.rp_payload_take(r, out, 3)
            assert(ffi.string(out, 3) == "hel")
            assert(c.err_name(C.rp_req_buffer_body(r, 100)) == "STALE")
            return 0
        end
        client:send(post("hello"))
        assert.matches("^HTTP/1.1 500", client:recv_until("\r\n\r\n"))
    end)

    it("lets go of what is parked when its client goes", function()
        local calls = 0
        filter = function()
            calls = calls + 1
            return AGAIN
        end
        client:send(post("hello"))
        p:accept()
        p:until_true(function() return calls > 0 end)
        client:close()
        p:until_true(function() return p.raw.live == nil end)
    end)
end)
