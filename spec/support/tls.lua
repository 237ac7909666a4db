-- SPDX-License-Identifier: MIT
--
-- tls: certificates made on the fly, and one end of a TLS connection played by the spec (OpenSSL by
-- FFI over memory, so that the spec decides how its bytes are cut into segments).
--
--   local tls = require("spec.support.tls")
--   local dir = tls.dir()                               -- removed by proc.cleanup
--   tls.ca(dir, "ca")                                   -- dir/ca.pem, dir/ca.key
--   tls.cert(dir, "a", { ca = "ca", names = { "a.test", "*.w.test" } })    -- dir/a.pem, dir/a.key
--   local c = tls.connect(port, { sni = "a.test", alpn = { "http/1.1" } })
--   c:send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
--   c:recv_until("\r\n\r\n"); c.version; c.resumed; c:session(); c:close()
--
-- Options of an end: sni, alpn, versions ("1.2", "1.3"), ca (file to verify by; else anything goes),
-- cert and key (files), session, server = true, piece (bytes of each send of ours), turn (called while
-- waiting, for ends whose other side lives in this process), rcvbuf.

local ffi = require("ffi")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")

ffi.cdef [[
typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_session_st SSL_SESSION;
typedef struct bio_st BIO;
typedef struct x509_st X509;
const void *TLS_method(void);
SSL_CTX *SSL_CTX_new(const void *method);
void SSL_CTX_free(SSL_CTX *);
long SSL_CTX_ctrl(SSL_CTX *, int, long, void *);
int SSL_CTX_set_alpn_protos(SSL_CTX *, const char *, unsigned);
int SSL_CTX_load_verify_file(SSL_CTX *, const char *);
void SSL_CTX_set_verify(SSL_CTX *, int, void *);
int SSL_CTX_use_certificate_chain_file(SSL_CTX *, const char *);
int SSL_CTX_use_PrivateKey_file(SSL_CTX *, const char *, int);
int SSL_CTX_set_cipher_list(SSL_CTX *, const char *);
SSL *SSL_new(SSL_CTX *);
void SSL_free(SSL *);
long SSL_ctrl(SSL *, int, long, void *);
void SSL_set_bio(SSL *, BIO *, BIO *);
void SSL_set_connect_state(SSL *);
void SSL_set_accept_state(SSL *);
int SSL_do_handshake(SSL *);
int SSL_read(SSL *, void *, int);
int SSL_write(SSL *, const void *, int);
int SSL_shutdown(SSL *);
void SSL_set_shutdown(SSL *, int);
int SSL_key_update(SSL *, int);
int SSL_write_early_data(SSL *, const void *, size_t, size_t *);
int SSL_get_early_data_status(const SSL *);
int SSL_SESSION_set_max_early_data(SSL_SESSION *, uint32_t);
int SSL_get_error(const SSL *, int);
const char *SSL_get_version(const SSL *);
int SSL_session_reused(const SSL *);
SSL_SESSION *SSL_get1_session(SSL *);
void SSL_SESSION_free(SSL_SESSION *);
int SSL_SESSION_is_resumable(const SSL_SESSION *);
int SSL_set_session(SSL *, SSL_SESSION *);
void SSL_get0_alpn_selected(const SSL *, const char **, unsigned *);
const char *SSL_get_servername(const SSL *, int);
X509 *SSL_get1_peer_certificate(const SSL *);
void X509_free(X509 *);
void *X509_get_subject_name(const X509 *);
char *X509_NAME_oneline(void *, char *, int);
BIO *BIO_new(const void *);
const void *BIO_s_mem(void);
int BIO_read(BIO *, void *, int);
int BIO_write(BIO *, const void *, int);
unsigned long ERR_get_error(void);
const char *ERR_reason_error_string(unsigned long);
void ERR_clear_error(void);
]]

local function load(name, versioned)
    local ok, lib = pcall(ffi.load, versioned)
    return ok and lib or ffi.load(name)
end
local L, K = load("ssl", "libssl.so.3"), load("crypto", "libcrypto.so.3")
local sys = posix.C

local M = { L = L, K = K }

-- ---------------------------------------------------------------- certificates

M.dir = proc.temp_dir

local function openssl(dir, ...)
    local words = { "cd '" .. dir .. "' && env -u LD_PRELOAD openssl" }
    for _, word in ipairs { ... } do words[#words + 1] = "'" .. word .. "'" end
    local command = table.concat(words, " ") .. " >openssl.log 2>&1"
    if os.execute(command) ~= 0 then
        error(command .. "\n" .. (posix.read_file(dir .. "/openssl.log") or ""), 3)
    end
end

local KEYS = { ec = { "ec", "ec_paramgen_curve:P-256" }, rsa = { "rsa", "rsa_keygen_bits:2048" } }

--- A certificate authority: dir/name.pem and dir/name.key.
function M.ca(dir, name)
    openssl(dir, "req", "-x509", "-newkey", KEYS.ec[1], "-pkeyopt", KEYS.ec[2], "-nodes", "-days",
        "30", "-keyout", name .. ".key", "-out", name .. ".pem", "-subj", "/CN=" .. name,
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext",
        "keyUsage=critical,keyCertSign,cRLSign")
end

--- A certificate: dir/name.pem and dir/name.key. opt: names (DNS), ips, cn (the first name), ca (of
--- this folder; else it signs itself), kind ("ec", "rsa"), expired, together (the key in the .pem).
function M.cert(dir, name, opt)
    opt = opt or {}
    local key, sans = KEYS[opt.kind or "ec"], {}
    for _, dns in ipairs(opt.names or {}) do sans[#sans + 1] = "DNS:" .. dns end
    for _, ip in ipairs(opt.ips or {}) do sans[#sans + 1] = "IP:" .. ip end
    local cn = opt.cn or (opt.names or {})[1] or name
    openssl(dir, "req", "-newkey", key[1], "-pkeyopt", key[2], "-nodes", "-keyout",
        name .. ".key", "-out", name .. ".csr", "-subj", "/CN=" .. cn)
    local more = table.concat(opt.ext or {}, "\n") .. "\n"
    posix.write_file(dir .. "/" .. name .. ".ext", (#sans > 0
        and "subjectAltName=" .. table.concat(sans, ",") .. "\n" or "nsComment=none\n") .. more)
    local sign = { "x509", "-req", "-in", name .. ".csr", "-out", name .. ".pem", "-extfile",
        name .. ".ext", "-days", opt.expired and "-1" or "30" }
    local by = opt.ca and { "-CA", opt.ca .. ".pem", "-CAkey", opt.ca .. ".key", "-set_serial",
        tostring(opt.serial or math.random(1, 2 ^ 31)) } or { "-signkey", name .. ".key" }
    for _, word in ipairs(by) do sign[#sign + 1] = word end
    openssl(dir, unpack(sign))
    if opt.together then
        local pem, text = dir .. "/" .. name .. ".pem", posix.read_file(dir .. "/" .. name .. ".key")
        posix.write_file(pem, posix.read_file(pem) .. text)
        os.remove(dir .. "/" .. name .. ".key")
    end
end

-- ---------------------------------------------------------------- what an authority says later

-- The database of `openssl ca` and `openssl ocsp`: a line for each serial number. revoked: a list.
local function write_index(dir, name, serials, revoked)
    local lines, gone = {}, {}
    for _, serial in ipairs(revoked or {}) do gone[serial] = true end
    for _, serial in ipairs(serials) do
        lines[#lines + 1] = ("%s\t491231235959Z\t%s\t%02X\tunknown\t/CN=%d\n"):format(
            gone[serial] and "R" or "V", gone[serial] and "250101000000Z" or "", serial, serial)
    end
    posix.write_file(("%s/%s.index"):format(dir, name), table.concat(lines))
end

--- A revocation list of CA `name`: dir/out. opt: revoked (serials), past (it is over), der.
function M.crl(dir, name, out, opt)
    opt = opt or {}
    write_index(dir, name, opt.revoked or {}, opt.revoked)
    posix.write_file(dir .. "/crl.cnf", ("[ca]\ndefault_ca=x\n[x]\ndatabase=%s.index\n"
        .. "default_md=sha256\n"):format(name))
    local times = opt.past and { "-crl_lastupdate", "200101000000Z", "-crl_nextupdate",
        "200201000000Z" } or { "-crldays", "30" }
    openssl(dir, "ca", "-gencrl", "-config", "crl.cnf", "-cert", name .. ".pem", "-keyfile",
        name .. ".key", "-out", out, times[1], times[2], times[3] or "-batch", times[4])
    if opt.der then openssl(dir, "crl", "-in", out, "-outform", "DER", "-out", out) end
end

--- The OCSP answer of CA `name` to a request (DER), or about dir/cert.pem when opt.cert says so.
--- opt: serials (that it knows), revoked (serials), signer (a name; the CA), minutes (10) it holds.
function M.ocsp(dir, name, opt)
    write_index(dir, name, opt.serials or {}, opt.revoked)
    local signer = opt.signer or name
    local words
    if opt.cert then
        words = { "-issuer", name .. ".pem", "-cert", opt.cert .. ".pem", "-no_nonce" }
    else
        posix.write_file(dir .. "/request.der", opt.request)
        words = { "-reqin", "request.der" }
    end
    openssl(dir, "ocsp", "-index", name .. ".index", "-CA", name .. ".pem", "-rsigner",
        signer .. ".pem", "-rkey", signer .. ".key", "-nmin", tostring(opt.minutes or 10),
        "-respout", "answer.der", "-noverify", unpack(words))
    return posix.read_file(dir .. "/answer.der")
end

--- What a handshake says of the certificate's status: "none", or the text of the answer.
function M.status(port, name)
    local _, out = proc.run { "/bin/sh", "-c", ("exec openssl s_client -connect 127.0.0.1:%d "
        .. "-servername %s -status </dev/null"):format(port, name) }
    if out:find("OCSP response: no response sent", 1, true) then return "none" end
    return out:match("OCSP Response Data:(.-)%-%-%-%-%-BEGIN") or out:match("Cert Status:[^\n]*")
        or error(out, 2)
end

-- ---------------------------------------------------------------- one end

local CTRL = { mode = 33, groups = 92, min = 123, max = 124, sni = 55 }
local VERSIONS = { ["1.2"] = 0x303, ["1.3"] = 0x304 }
local WANT_READ, ZERO_RETURN = 2, 6

local End = {}
End.__index = End

local function wire_list(names)
    local out = {}
    for i, name in ipairs(names) do out[i] = string.char(#name) .. name end
    return table.concat(out)
end

local function make_ctx(opt)
    local ctx = ffi.gc(L.SSL_CTX_new(L.TLS_method()), L.SSL_CTX_free)
    if opt.versions then
        L.SSL_CTX_ctrl(ctx, CTRL.min, VERSIONS[opt.versions], nil)
        L.SSL_CTX_ctrl(ctx, CTRL.max, VERSIONS[opt.versions], nil)
    end
    if opt.alpn then
        local list = wire_list(opt.alpn)
        assert(L.SSL_CTX_set_alpn_protos(ctx, list, #list) == 0)
    end
    if opt.ca then
        assert(L.SSL_CTX_load_verify_file(ctx, opt.ca) == 1, opt.ca)
        L.SSL_CTX_set_verify(ctx, opt.server and 3 or 1, nil)
    end
    if opt.cert then
        assert(L.SSL_CTX_use_certificate_chain_file(ctx, opt.cert) == 1, opt.cert)
        assert(L.SSL_CTX_use_PrivateKey_file(ctx, opt.key or opt.cert, 1) == 1)
    end
    if opt.ciphers then assert(L.SSL_CTX_set_cipher_list(ctx, opt.ciphers) == 1) end
    return ctx
end

--- An end over a connected descriptor (kept; closed by close when opt.own).
function M.over(fd, opt)
    opt = opt or {}
    local e = setmetatable({ fd = fd, opt = opt, ctx = make_ctx(opt), buf = "", out = "",
        timeout = opt.timeout or 45 }, End)
    e.ssl = ffi.gc(L.SSL_new(e.ctx), L.SSL_free)
    e.rbio, e.wbio = K.BIO_new(K.BIO_s_mem()), K.BIO_new(K.BIO_s_mem())
    L.SSL_set_bio(e.ssl, e.rbio, e.wbio) -- own
    if opt.server then
        L.SSL_set_accept_state(e.ssl)
    else
        L.SSL_set_connect_state(e.ssl)
        if opt.sni then
            L.SSL_ctrl(e.ssl, CTRL.sni, 0, ffi.cast("void *", ffi.cast("const char *", opt.sni)))
        end
        if opt.session then assert(L.SSL_set_session(e.ssl, opt.session) == 1) end
    end
    return e
end

--- Connect to a port of this machine and shake hands; raises unless opt.may_fail: nil, reason.
function M.connect(port, opt)
    opt = opt or {}
    local fd, on = sys.socket(2, 1, 0), ffi.new("int[1]", 1)
    sys.setsockopt(fd, 6, 1, on, 4) -- TCP_NODELAY
    if opt.rcvbuf then
        local bytes = ffi.new("int[1]", opt.rcvbuf)
        sys.setsockopt(fd, 1, 8, bytes, 4)
    end
    assert(sys.connect(fd, posix.inet("127.0.0.1", port), 16) == 0, "connect")
    local e = M.over(fd, opt)
    e.own = true
    if opt.no_handshake then return e end
    local ok, why = e:handshake()
    if ok then return e end
    e:close()
    if not opt.may_fail then error("TLS handshake: " .. why, 2) end
    return nil, why
end

local pfd = ffi.new("rpspec_pollfd[1]")

-- Wait until the descriptor is ready for events (1 read, 4 write) or the limit is over.
local function ready(e, events, deadline)
    while true do
        if e.opt.turn then e.opt.turn() end
        pfd[0].fd, pfd[0].events = e.fd, events
        if sys.poll(pfd, 1, e.opt.turn and 0 or 100) > 0 then return true end
        if posix.now() > deadline then error("TLS end: nothing came within the limit", 0) end
    end
end

local room = ffi.new("char[65536]")

--- Send what OpenSSL has sealed, in pieces of opt.piece; not while `hold` is set.
function End:flush()
    if self.hold then return true end
    while true do
        local n = K.BIO_read(self.wbio, room, 65536)
        if n <= 0 then break end
        self.out = self.out .. ffi.string(room, n)
    end
    local deadline = posix.now() + self.timeout
    while #self.out > 0 do
        local piece = math.min(self.opt.piece or #self.out, #self.out)
        local n = tonumber(sys.send(self.fd, self.out, piece, 0x4040)) -- NOSIGNAL, DONTWAIT
        if n > 0 then
            self.out = self.out:sub(n + 1)
            if self.opt.piece and self.opt.turn then self.opt.turn() end
        elseif ffi.errno() == posix.EAGAIN then
            ready(self, 4, deadline)
        else
            self.out, self.gone = "", true
            return false
        end
    end
    return true
end

-- Take what is in the socket, waiting for it; false at its end.
local function feed(e)
    ready(e, 1, posix.now() + e.timeout)
    local n = tonumber(sys.recv(e.fd, room, math.min(e.opt.piece_in or 65536, 65536), 0x40))
    if n < 0 and ffi.errno() == posix.EAGAIN then return true end
    if n <= 0 then
        e.raw_end = n == 0 and "closed" or "reset"
        return false
    end
    K.BIO_write(e.rbio, room, n)
    return true
end

local function reason()
    local text = K.ERR_reason_error_string(K.ERR_get_error())
    K.ERR_clear_error()
    return text ~= nil and ffi.string(text) or "closed"
end

local function note(e)
    e.version = ffi.string(L.SSL_get_version(e.ssl))
    e.resumed = L.SSL_session_reused(e.ssl) == 1
    local p, n = ffi.new("const char *[1]"), ffi.new("unsigned[1]")
    L.SSL_get0_alpn_selected(e.ssl, p, n)
    e.alpn = n[0] > 0 and ffi.string(p[0], n[0]) or nil
    local cert = L.SSL_get1_peer_certificate(e.ssl)
    if cert ~= nil then
        local text = K.X509_NAME_oneline(K.X509_get_subject_name(cert), ffi.new("char[256]"), 256)
        e.peer = ffi.string(text):match("CN ?= ?([^/]*)")
        K.X509_free(cert)
    end
    local name = L.SSL_get_servername(e.ssl, 0)
    e.asked = name ~= nil and ffi.string(name) or nil
end

--- Send the ClientHello (its bytes are in hello_bytes); handshake() goes on.
function End:hello()
    L.SSL_do_handshake(self.ssl)
    K.ERR_clear_error()
    local n = K.BIO_read(self.wbio, room, 65536)
    self.hello_bytes = ffi.string(room, n)
    self.out = self.out .. self.hello_bytes
    return self:flush()
end

--- Key exchange groups that it offers, best first, before its hello: "P-521:P-256".
function End:groups(list)
    local text = ffi.cast("void *", ffi.cast("const char *", list))
    assert(L.SSL_ctrl(self.ssl, CTRL.groups, 0, text) == 1)
end

--- True; or nil and the reason.
function End:handshake()
    while true do
        K.ERR_clear_error()
        local r = L.SSL_do_handshake(self.ssl)
        local code = r == 1 and 0 or L.SSL_get_error(self.ssl, r)
        local why = code ~= 0 and code ~= WANT_READ and reason()
        self:flush()
        if r == 1 then
            note(self)
            return true
        end
        if why then return nil, why end
        if not feed(self) then return nil, self.raw_end end
    end
end

--- True, or false when the other side is gone.
function End:send(bytes)
    local at = 1
    while at <= #bytes do -- the buffers of a whole body need not exist at once
        local part = bytes:sub(at, at + 65535)
        assert(L.SSL_write(self.ssl, part, #part) == #part)
        if not self:flush() then return false end
        at = at + #part
    end
    return true
end

-- Read into buf what one round gives; false at the end, which self.ended names: "closed" (after
-- close_notify), "cut" (without), "reset", or a reason.
local function fill(e)
    if e.ended then return false end
    K.ERR_clear_error()
    local n = L.SSL_read(e.ssl, room, 65536)
    if n > 0 then
        e.buf = e.buf .. ffi.string(room, n)
        e:flush() -- answers to key updates
        return true
    end
    local code = L.SSL_get_error(e.ssl, n)
    if code == WANT_READ then
        if feed(e) then return true end
        e.ended = e.raw_end == "closed" and "cut" or e.raw_end
    else
        e.ended = code == ZERO_RETURN and "closed" or reason()
    end
    return e.ended == nil
end

--- Everything up to and with the mark; raises when the end comes first.
function End:recv_until(mark)
    while true do
        local _, last = self.buf:find(mark, 1, true)
        if last then
            local out = self.buf:sub(1, last)
            self.buf = self.buf:sub(last + 1)
            return out
        end
        if not fill(self) then
            error(("%s before %q; had %q"):format(self.ended, mark, self.buf:sub(1, 400)), 2)
        end
    end
end

--- n bytes; raises when the end comes first.
function End:recv(n)
    while #self.buf < n do
        if not fill(self) then error(("%s; had %d bytes"):format(self.ended, #self.buf), 2) end
    end
    local out = self.buf:sub(1, n)
    self.buf = self.buf:sub(n + 1)
    return out
end

--- Read and forget n bytes; a checksum of them (position times byte, so that order counts).
function End:drain(n, each)
    local got = 0
    while got < n do
        if #self.buf == 0 and not fill(self) then break end
        local part = self.buf:sub(1, n - got)
        self.buf = self.buf:sub(#part + 1)
        if each then each(part, got) end
        got = got + #part
    end
    return got
end

--- Everything until the end, and how it ended.
function End:recv_all()
    while fill(self) do end
    local out = self.buf
    self.buf = ""
    return out, self.ended
end

--- A request and its response head and body (by Content-Length).
function End:get(path, host)
    self:send(("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n"):format(path, host or self.opt.sni or "x"))
    local head = self:recv_until("\r\n\r\n")
    local n = tonumber(head:lower():match("content%-length: (%d+)")) or 0
    return tonumber(head:match("^HTTP/1.1 (%d+)")), self:recv(n), head
end

--- The session for a later connection; what came with the tickets must have been read.
function End:session()
    local s = ffi.gc(L.SSL_get1_session(self.ssl), L.SSL_SESSION_free)
    return L.SSL_SESSION_is_resumable(s) == 1 and s or nil
end

--- Early data, before the handshake of an end with a session; the bytes on the wire with which it
--- begins, to be sent by others. Then: handshake.
function End:send_early(bytes)
    local n = ffi.new("size_t[1]")
    self.hold = true
    assert(L.SSL_write_early_data(self.ssl, bytes, #bytes, n) == 1, "no early data")
    self.hold = nil
    local first = {}
    while true do
        local got = K.BIO_read(self.wbio, room, 65536)
        if got <= 0 then break end
        first[#first + 1] = ffi.string(room, got)
    end
    self.first = table.concat(first)
    self.out = self.out .. self.first
    self:flush()
    return self.first
end

--- "accepted", "rejected", or nil when none was sent; after the handshake.
function End:early_status()
    return ({ [1] = "rejected", [2] = "accepted" })[L.SSL_get_early_data_status(self.ssl)]
end

--- The session as a client has it that sends more early data than it was allowed.
function M.greedy(s)
    assert(L.SSL_SESSION_set_max_early_data(s, 1e6) == 1)
    return s
end

--- Ask for new keys (and for theirs).
function End:key_update()
    assert(L.SSL_key_update(self.ssl, 1) == 1)
end

--- close_notify, no FIN.
function End:notify()
    L.SSL_shutdown(self.ssl)
    self:flush()
end

function End:finish()
    sys.shutdown(self.fd, 1)
end

--- Raw bytes beside the TLS.
function End:send_raw(bytes)
    return tonumber(sys.send(self.fd, bytes, #bytes, 0x4000))
end

function End:close()
    L.SSL_set_shutdown(self.ssl, 3) -- else OpenSSL would spoil the session with the connection
    if self.own and self.fd then sys.close(self.fd) end
    self.fd = nil
end

return M
