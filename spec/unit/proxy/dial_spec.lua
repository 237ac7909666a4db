-- SPDX-License-Identifier: MIT
--
-- dial: CONNECT to names, with a name server of ours: what they resolve to is looked at, and the
-- address that was looked at is the one that is used.

local inproc = require("spec.support.inproc")

local C, c, ffi, net, posix, sys = inproc.C, inproc.c, inproc.ffi, inproc.net, inproc.posix, inproc.sys

local A, AAAA = 1, 28

local function u16(n) return string.char(math.floor(n / 256), n % 256) end

describe("dial", function()
    local p, server, records, asked

    -- Answers what came in since the last call with the records of its type; none: silence.
    local function serve()
        local buf, from, n = ffi.new("uint8_t[512]"), ffi.new("uint8_t[16]"), ffi.new("unsigned[1]")
        while true do
            n[0] = 16
            local len = tonumber(sys.recvfrom(server, buf, 512, 64, from, n))
            if len < 0 then return end
            asked = asked + 1
            local query = ffi.string(buf, len)
            local stop = assert(query:find("\0", 13, true))
            local qtype = query:byte(stop + 1) * 256 + query:byte(stop + 2)
            local list = records and (records[qtype] or {})
            if list then
                local out = { query:sub(1, 2), u16(0x8180), u16(1), u16(#list), u16(0), u16(0),
                    query:sub(13, stop + 4) }
                for _, ip in ipairs(list) do
                    out[#out + 1] = "\192\12" .. u16(qtype) .. u16(1) .. u16(0) .. u16(60)
                        .. u16(#ip) .. ip
                end
                local reply = table.concat(out)
                sys.sendto(server, reply, #reply, 0, from, n[0])
            end
        end
    end

    local function open(allow)
        p = inproc.open { site = function(s, host)
            local index = ffi.new("uint32_t[1]")
            assert(C.rp_conf_add_route(s.conf, host, c.str("CONNECT"), c.str("*"), false, index,
                s.e) == 0)
            assert(C.rp_conf_set_route(s.conf, index[0], c.str("action"), C.RP_ACTION_CONNECT) == 0)
            assert(C.rp_conf_set_route(s.conf, index[0], c.str("connect_ms"), 300) == 0)
            for _, text in ipairs(allow) do
                assert(C.rp_conf_add_connect(s.conf, index[0], false, c.str(text), s.e) == 0)
            end
        end }
        local o = ffi.new("struct rp_dns_options", C.rp_dns_defaults)
        local address = "127.0.0.1:" .. net.port_of(server)
        o.servers = address
        local box = ffi.new("struct rp_dns *[1]", p.raw.dns)
        C.rp_dns_free(box)
        p.raw.dns = C.rp_dns_new_with(p.env.loop, o)
    end

    before_each(function()
        server = sys.socket(net.AF_INET, net.DGRAM, 0)
        assert(sys.bind(server, posix.inet("127.0.0.1", 0), 16) == 0)
        asked, records = 0, { [A] = { "\127\0\0\1" }, [AAAA] = {} }
    end)
    after_each(function()
        p:close()
        sys.close(server)
    end)

    local function connect(where)
        local client = p:client()
        client:send(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n"):format(where, where))
        return client
    end

    -- The status of its answer, while the name server answers.
    local function status(client)
        local head = ""
        p:until_true(function()
            serve()
            head = head .. client:recv_some(0.002)
            return head:find("\r\n\r\n", 1, true)
        end, "an answer")
        return tonumber(head:match("^HTTP/1%.1 (%d%d%d)"))
    end

    it("connects to what a name resolves to, when that may be", function()
        open { "db.test:" .. 1, "db.test", "127.0.0.1" }
        local client = connect("db.test:" .. p.up_port)
        assert.equal(200, status(client))
        local up = p:accept()
        client:send("hello")
        up:recv_until("hello")
        up:close()
        client:close()
        p:idle()
    end)

    it("uses only those addresses that may be reached", function()
        records = { [A] = { "\169\254\169\254", "\127\0\0\2", "\127\0\0\1" },
            [AAAA] = { ("\0"):rep(15) .. "\1" } }
        open { "db.test", "127.0.0.1" }
        local client = connect("db.test:" .. p.up_port)
        assert.equal(200, status(client))
        assert.equal(1, p.raw.live.tries)
        p:accept():close()
        client:close()
        p:idle()
    end)

    it("goes on to the next address when one does not answer", function()
        records = { [A] = { "\127\0\0\2", "\127\0\0\1" }, [AAAA] = {} }
        open { "db.test", "127.0.0.0/8" } -- ours listens on 127.0.0.1 alone
        local client = connect("db.test:" .. p.up_port)
        assert.equal(200, status(client))
        p:accept():close()
        client:close()
        p:idle()
    end)

    it("refuses a name that was pointed at this machine", function()
        for _, ip in ipairs { "\127\0\0\1", "\169\254\169\254", "\0\0\0\0" } do
            records = { [A] = { ip }, [AAAA] = { ("\0"):rep(15) .. "\1" } }
            open { "db.test", "*.db.test" }
            assert.equal(403, status(connect("db.test:" .. p.up_port)))
            assert.is_nil(p:accepted())
            p:idle()
            assert.equal(1, tonumber(p.raw.stats.connect_denied))
            p:close()
        end
        open { "db.test" }
    end)

    it("does not ask for names that are not on the list", function()
        open { "db.test:5" }
        assert.equal(403, status(connect("db.test:6")))
        assert.equal(403, status(connect("other.test:5")))
        assert.equal(0, asked)
    end)

    it("gives up on a name server that is silent", function()
        records = nil
        open { "db.test" }
        assert.equal(504, status(connect("db.test:5")))
        assert.is_true(asked > 0)
        p:idle()
    end)

    it("stops asking when the client goes", function()
        records = nil
        open { "db.test" }
        local client = connect("db.test:5")
        p:until_true(function()
            serve()
            return asked > 0
        end, "a question")
        client:reset()
        p:idle()
    end)
end)
