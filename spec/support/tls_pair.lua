-- SPDX-License-Identifier: MIT
--
-- tls_pair: a conn of ours that speaks TLS, in this process, and its other end played by the spec.
--
--   local files = tls_pair.files(dir)                 -- reads dir/NAME
--   local s, why = tls_pair.server(dir, { certs = { "a" }, rules = { alpn = "\2h2" } })
--   local conn, e, why = tls_pair.accept(env, s, { sni = "a.test" })     -- the spec is the client
--   local cl = tls_pair.client { verify = false, alpn = "\2h2" }
--   local result, conn, e = tls_pair.connect(env, cl, "a.test", { cert = .., key = .. })

local net = require("spec.support.net")
local posix = require("spec.support.posix")
local tls = require("spec.support.tls")

local ffi, sys, c = net.ffi, net.sys, net.c
local C = c.load { "net/tls_server.h", "net/tls_client.h", "net/conn.h" }

local M = { C = C }
local WHY = 320
local kept = {} -- texts of a rules struct must outlive it

local function str(text)
    kept[#kept + 1] = text
    return c.str(text)
end

local function fill(rules, values)
    for name, value in pairs(values or {}) do
        rules[name] = type(value) == "string" and str(value) or value
    end
end

function M.read(dir, name)
    return assert(posix.read_file(dir .. "/" .. name))
end

--- A server without certificates: its pointer, or nil and why.
function M.bare_server(rules)
    local r, why = ffi.new("struct rp_tls_rules"), ffi.new("char[?]", WHY)
    r.session_ms = 3600 * 1000
    fill(r, rules)
    local s = C.rp_tls_server_new(r, why)
    if s == nil then return nil, ffi.string(why) end
    return ffi.gc(ffi.new("struct rp_tls_server *[1]", s), C.rp_tls_server_drop)
end

--- Add a certificate by its texts: facts, or nil and why.
function M.add(server, cert, key)
    local facts, why = ffi.new("struct rp_tls_cert_facts"), ffi.new("char[?]", WHY)
    local e = C.rp_tls_server_add(server[0], c.str(cert), c.str(key), facts, why)
    if e ~= 0 then return nil, ffi.string(why) end
    return facts
end

function M.finish(server)
    local why = ffi.new("char[?]", WHY)
    local e = c.err_name(C.rp_tls_server_finish(server[0], why))
    return e == "OK", ffi.string(why)
end

--- opt: certs (names of files in dir without their ends), rules.
function M.server(dir, opt)
    opt = opt or {}
    local s, why = M.bare_server(opt.rules)
    if not s then return nil, why end
    for _, name in ipairs(opt.certs or { "a" }) do
        local facts
        facts, why = M.add(s, M.read(dir, name .. ".pem"), M.read(dir, name .. ".key"))
        if not facts then return nil, why end
    end
    local ok
    ok, why = M.finish(s)
    if not ok then return nil, why end
    return s
end

--- opt: verify, sni, name, cert_pem, key_pem; alpn, cas, versions (of the base).
function M.client(opt)
    local r, why = ffi.new("struct rp_tls_client_rules"), ffi.new("char[?]", WHY)
    local base, own = {}, {}
    for name, value in pairs(opt) do
        local of_base = name == "alpn" or name == "cas" or name == "versions"
        if of_base then base[name] = value else own[name] = value end
    end
    fill(r, own)
    fill(r.base, base)
    local made = C.rp_tls_client_new(r, why)
    if made == nil then return nil, ffi.string(why) end
    return ffi.gc(ffi.new("struct rp_tls_client *[1]", made), C.rp_tls_client_drop)
end

--- A conn that ends TLS (opt.small: bytes of its socket's buffer), and the spec's end of it; the
--- third value: why there was no handshake.
function M.accept(env, server, opt)
    opt = opt or {}
    local near, far = net.tcp_pair()
    local small = ffi.new("int[1]", opt.small or 0)
    if opt.small then sys.setsockopt(near, net.SOL_SOCKET, net.SO_SNDBUF, small, 4) end
    local conn = env:adopt(near)
    C.rp_conn_start_tls(conn.raw, server[0], nil)
    opt.turn = opt.turn or function() C.rp_loop_turn(env.loop, 0) end
    local e = tls.over(env:own(far), opt)
    local ok, why = e:handshake()
    if not ok then return conn, e, why end
    env:until_true(function() return C.rp_conn_finish_tls(conn.raw) ~= 1 end)
    return conn, e
end

--- Connect to a server that the spec plays. opt: of tls.over (cert and key needed); offer (protocols
--- instead of the client's), memory. The result's name, the conn, the spec's end.
function M.connect(env, client, name, opt)
    local ln, port = net.tcp_listen()
    env:own(ln)
    local conn = assert(env:connect("127.0.0.1:" .. port))
    C.rp_conn_use_tls(conn.raw, client[0], c.str(name), opt.memory)
    if opt.offer then C.rp_conn_offer(conn.raw, c.str(opt.offer)) end
    local fd = env:own(sys.accept4(ln, nil, nil, 0))
    local result
    local function step()
        C.rp_loop_turn(env.loop, 0)
        if result or conn.writable == 0 then return end
        local e = C.rp_conn_finish_connect(conn.raw)
        if e ~= 1 then result = c.err_name(e) end
    end
    local all = { server = true, turn = step }
    for key, value in pairs(opt) do all[key] = value end
    local e = tls.over(fd, all)
    if opt.before then opt.before(e) end
    e:handshake()
    env:until_true(function()
        step()
        return result
    end)
    return result, conn, e
end

return M
