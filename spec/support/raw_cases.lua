-- SPDX-License-Identifier: MIT
--
-- raw_cases: hostile and odd HTTP/1 requests as raw bytes, and what must become of each.
--
--   local raw_cases = require("spec.support.raw_cases")
--   raw_cases.REFUSED     { name, status, bytes [, "path" | "body"] [, "whole only"] }
--   raw_cases.ACCEPTED    { name, bytes, what the origin must have got }
--
-- "path": the framing is sound, so the connection may live on. "body": the head may have reached
-- the origin before the broken body was seen. "whole only": too long to be sent byte by byte.

local M = {}

local CRLF = "\r\n"

--- A request: its line, then field lines, then the body after the empty line.
local function req(line, fields, body)
    return line .. CRLF .. table.concat(fields, CRLF) .. CRLF .. CRLF .. (body or "")
end

local function get(fields, target)
    return req("GET " .. (target or "/x") .. " HTTP/1.1", fields)
end

local function post(fields, body)
    local all = { "Host: a", "Connection: close" }
    for i = 1, #fields do all[#all + 1] = fields[i] end
    return req("POST /x HTTP/1.1", all, body)
end

local SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

-- ---------------------------------------------------------------- refused: { name, status, bytes }

M.REFUSED = {
    -- request line (RFC 9112 §3)
    { "an empty method", 400, req(" / HTTP/1.1", { "Host: a" }) },
    { "a method with a slash", 400, req("GE/T / HTTP/1.1", { "Host: a" }) },
    { "a method with a quote", 400, req("G\"ET / HTTP/1.1", { "Host: a" }) },
    { "a method with a high byte", 400, req("G\xc3ET / HTTP/1.1", { "Host: a" }) },
    { "a method with a NUL", 400, req("G\0ET / HTTP/1.1", { "Host: a" }) },
    { "a method of 100 bytes", 400, req(("A"):rep(100) .. " / HTTP/1.1", { "Host: a" }) },
    { "two spaces before the target", 400, req("GET  / HTTP/1.1", { "Host: a" }) },
    { "two spaces before the version", 400, req("GET /  HTTP/1.1", { "Host: a" }) },
    { "a tab before the target", 400, req("GET\t/ HTTP/1.1", { "Host: a" }) },
    { "a leading space", 400, req(" GET / HTTP/1.1", { "Host: a" }) },
    { "a trailing space", 400, req("GET / HTTP/1.1 ", { "Host: a" }) },
    { "no target", 400, req("GET HTTP/1.1", { "Host: a" }) },
    { "no version (HTTP/0.9)", 400, "GET /\r\n\r\n" },
    { "a fourth word", 400, req("GET / HTTP/1.1 x", { "Host: a" }) },
    { "a version in lower case", 400, req("GET / http/1.1", { "Host: a" }) },
    { "a version without the minor", 400, req("GET / HTTP/1", { "Host: a" }) },
    { "a version with two digits", 400, req("GET / HTTP/1.10", { "Host: a" }) },
    { "a version with a leading zero", 400, req("GET / HTTP/01.1", { "Host: a" }) },
    { "another protocol's name", 400, req("GET / HTCPCP/1.1", { "Host: a" }) },
    { "version 2.0 by text", 505, req("GET / HTTP/2.0", { "Host: a" }) },
    { "version 0.9 by text", 505, req("GET / HTTP/0.9", { "Host: a" }) },
    { "version 3.0", 505, req("GET / HTTP/3.0", { "Host: a" }) },
    { "a carriage return in the line", 400, req("GET /\rx HTTP/1.1", { "Host: a" }) },
    { "a bare LF after the line", 400, "GET / HTTP/1.1\nHost: a\r\n\r\n" },
    { "bare LF everywhere", 400, "GET / HTTP/1.1\nHost: a\n\n" },
    { "a bare LF at the end of the head", 400, "GET / HTTP/1.1\r\nHost: a\r\n\n" },
    { "a CR CR LF line end", 400, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n" },
    { "a TLS hello", 400, "\22\3\1\2\0\1\0\1\252\3\3" .. ("\0"):rep(40) },
    { "twelve empty lines first", 400, ("\r\n"):rep(12) .. get { "Host: a" }, nil, "whole only" },

    -- request targets (RFC 9112 §3.2)
    { "a relative target", 400, get({ "Host: a" }, "x") },
    { "a fragment", 400, get({ "Host: a" }, "/x#y") },
    { "a space encoded as itself", 400, get({ "Host: a" }, "/x y") },
    { "a control byte in the target", 400, get({ "Host: a" }, "/x\1") },
    { "a DEL in the target", 400, get({ "Host: a" }, "/x\127") },
    { "a NUL in the target", 400, get({ "Host: a" }, "/x\0y") },
    { "a raw high byte in the target", 400, get({ "Host: a" }, "/\xc3\xa9") },
    { "a raw backslash in the target", 400, get({ "Host: a" }, "/..\\x") },
    { "an encoded NUL", 400, get({ "Host: a" }, "/x%00y"), "path" },
    { "half an escape", 400, get({ "Host: a" }, "/x%4"), "path" },
    { "a broken escape", 400, get({ "Host: a" }, "/x%zz"), "path" },
    { "a climb above the root", 400, get({ "Host: a" }, "/../etc/passwd"), "path" },
    { "an encoded climb above the root", 400, get({ "Host: a" }, "/%2e%2e/etc/passwd"), "path" },
    { "a climb after a descent", 400, get({ "Host: a" }, "/a/../../b"), "path" },
    { "an overlong encoding of a slash", 400, get({ "Host: a" }, "/..%c0%af.."), "path" },
    { "asterisk with GET", 400, get({ "Host: a" }, "*") },
    { "an authority with GET", 400, get({ "Host: a:80" }, "a:80") },
    { "a scheme that is not http", 400, get({ "Host: a" }, "ftp://a/x") },
    { "an absolute target without host", 400, get({ "Host: a" }, "http:///x") },
    { "an absolute target with user info", 400, get({ "Host: a" }, "http://u:p@a/x") },
    { "an absolute target with a bad port", 400, get({ "Host: a" }, "http://a:99999/x") },
    { "a target of 9,000 bytes", 414, get({ "Host: a" }, "/" .. ("x"):rep(9000)) },

    -- Host (RFC 9112 §3.2, RFC 9110 §7.2)
    { "no Host in 1.1", 400, get { "Accept: */*" } },
    { "two Hosts", 400, get { "Host: a", "Host: b" } },
    { "the same Host twice", 400, get { "Host: a", "Host: a" } },
    { "an empty Host", 400, get { "Host:" } },
    { "a Host with a path", 400, get { "Host: a/b" } },
    { "a Host with user info", 400, get { "Host: u@a" } },
    { "a Host with a space", 400, get { "Host: a b" } },
    { "a Host list", 400, get { "Host: a, b" } },
    { "a Host with a query", 400, get { "Host: a?b" } },
    { "a Host with a port over 65535", 400, get { "Host: a:65536" } },
    { "a Host with letters as port", 400, get { "Host: a:http" } },
    { "a Host with an open bracket", 400, get { "Host: [::1" } },
    { "a Host with a high byte", 400, get { "Host: a\xff" } },
    { "a Host with a NUL", 400, get { "Host: a\0b" } },
    { "a bad Host beside an absolute target", 400, get({ "Host: a b" }, "http://a/x") },

    -- field lines (RFC 9112 §5)
    { "a space before the colon", 400, get { "Host: a", "X-A : b" } },
    { "a tab before the colon", 400, get { "Host: a", "X-A\t: b" } },
    { "a space before the name", 400, get { "Host: a", " X-A: b" } },
    { "obs-fold", 400, get { "Host: a", "X-A: b", " c" } },
    { "obs-fold with a tab", 400, get { "Host: a", "X-A: b", "\tc" } },
    { "a fold right after the line", 400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n" },
    { "no colon", 400, get { "Host: a", "nonsense" } },
    { "an empty name", 400, get { "Host: a", ": b" } },
    { "a name with a space", 400, get { "Host: a", "X A: b" } },
    { "a name with a slash", 400, get { "Host: a", "X/A: b" } },
    { "a name with a parenthesis", 400, get { "Host: a", "X(A: b" } },
    { "a name with a high byte", 400, get { "Host: a", "X\xe9: b" } },
    { "a name with a NUL", 400, get { "Host: a", "X\0A: b" } },
    { "a value with a NUL", 400, get { "Host: a", "X-A: b\0c" } },
    { "a value with a bare CR", 400, get { "Host: a", "X-A: b\rc" } },
    { "a value with a bare LF", 400, get { "Host: a", "X-A: b\nX-B: c" } },
    { "a value with a control byte", 400, get { "Host: a", "X-A: b\1c" } },
    { "a value with a DEL", 400, get { "Host: a", "X-A: b\127c" } },
    { "a name in quotes", 400, get { "Host: a", "\"X-A\": b" } },
    { "101 fields", 431, get((function()
        local all = { "Host: a" }
        for i = 1, 100 do all[#all + 1] = "X-" .. i .. ": v" end
        return all
    end)()) },
    { "a head of 40 KB", 431, get { "Host: a", "X-A: " .. ("v"):rep(40000) } },
    { "a head of many fields over 32 KB", 431, get((function()
        local all = { "Host: a" }
        for i = 1, 90 do all[#all + 1] = "X-" .. i .. ": " .. ("v"):rep(400) end
        return all
    end)()) },

    -- Content-Length (RFC 9112 §6.2, §6.3)
    { "two lengths that differ", 400, post({ "Content-Length: 5", "Content-Length: 6" }, "hello") },
    { "two lengths that agree", 400, post({ "Content-Length: 5", "Content-Length: 5" }, "hello") },
    { "a list of lengths", 400, post({ "Content-Length: 5, 5" }, "hello") },
    { "a negative length", 400, post({ "Content-Length: -5" }, "hello") },
    { "a length with a plus", 400, post({ "Content-Length: +5" }, "hello") },
    { "a hexadecimal length", 400, post({ "Content-Length: 0x5" }, "hello") },
    { "a length with a fraction", 400, post({ "Content-Length: 5.0" }, "hello") },
    { "a length with an exponent", 400, post({ "Content-Length: 5e0" }, "hello") },
    { "a length with a space inside", 400, post({ "Content-Length: 1 1" }, "hello") },
    { "an empty length", 400, post({ "Content-Length:" }, "hello") },
    { "a length over 64 bits", 400, post({ "Content-Length: 99999999999999999999" }, "hello") },
    { "a length in full-width digits", 400, post({ "Content-Length: \xef\xbc\x95" }, "hello") },
    { "a length with a letter", 400, post({ "Content-Length: 5a" }, "hello") },
    { "a length with a quote", 400, post({ "Content-Length: \"5\"" }, "hello") },
    { "a length over the body limit", 413, post { "Content-Length: 2000000" } },

    -- Transfer-Encoding and the smuggling pairs (RFC 9112 §6.1, §6.3, §11.2)
    { "CL.TE", 400, post({ "Content-Length: 4", "Transfer-Encoding: chunked" },
        "0\r\n\r\n" .. SMUGGLED) },
    { "TE.CL", 400, post({ "Transfer-Encoding: chunked", "Content-Length: 4" },
        "0\r\n\r\n" .. SMUGGLED) },
    { "TE with a length of 0", 400, post({ "Content-Length: 0", "Transfer-Encoding: chunked" },
        "0\r\n\r\n") },
    { "two codings in two lines", 400, post({ "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity" }, "0\r\n\r\n" .. SMUGGLED) },
    { "chunked twice in two lines", 400, post({ "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked" }, "0\r\n\r\n") },
    { "chunked twice in a list", 400, post({ "Transfer-Encoding: chunked, chunked" },
        "0\r\n\r\n") },
    { "chunked not last", 400, post({ "Transfer-Encoding: chunked, gzip" }, "0\r\n\r\n") },
    { "identity", 400, post({ "Transfer-Encoding: identity" }, "hello") },
    { "a coding we do not know before chunked", 501, post({ "Transfer-Encoding: gzip, chunked" },
        "0\r\n\r\n") },
    { "a coding that looks like chunked", 400, post({ "Transfer-Encoding: xchunked" },
        "0\r\n\r\n" .. SMUGGLED) },
    { "chunked in quotes", 400, post({ "Transfer-Encoding: \"chunked\"" }, "0\r\n\r\n") },
    { "chunked with a parameter", 400, post({ "Transfer-Encoding: chunked;q=1" }, "0\r\n\r\n") },
    { "chunked with a vertical tab", 400, post({ "Transfer-Encoding: \11chunked" }, "0\r\n\r\n") },
    { "chunked with a NUL", 400, post({ "Transfer-Encoding: chunked\0" }, "0\r\n\r\n") },
    { "an empty coding", 400, post({ "Transfer-Encoding:" }, "0\r\n\r\n") },
    { "a comma alone", 400, post({ "Transfer-Encoding: ," }, "0\r\n\r\n") },
    { "a space before the coding's colon", 400, post({ "Transfer-Encoding : chunked",
        "Content-Length: 5" }, "0\r\n\r\n") },
    { "a folded coding", 400, post({ "Transfer-Encoding:", " chunked" }, "0\r\n\r\n") },
    { "a coding with an underscore beside a length", 400, post({ "Transfer-Encoding: chunke",
        "Content-Length: 5" }, "hello") },
    { "a coding in HTTP/1.0", 400, req("POST /x HTTP/1.0", { "Host: a",
        "Transfer-Encoding: chunked" }, "0\r\n\r\n") },

    -- chunks (RFC 9112 §7.1): the head may have gone up, the broken body must not end there
    { "a chunk size with 0x", 400, post({ "Transfer-Encoding: chunked" },
        "0x5\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a negative chunk size", 400, post({ "Transfer-Encoding: chunked" },
        "-5\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a chunk size with a plus", 400, post({ "Transfer-Encoding: chunked" },
        "+5\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a chunk size with a leading space", 400, post({ "Transfer-Encoding: chunked" },
        " 5\r\nhello\r\n0\r\n\r\n"), "body" },
    { "an empty chunk size", 400, post({ "Transfer-Encoding: chunked" },
        "\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a chunk size over 64 bits", 400, post({ "Transfer-Encoding: chunked" },
        "10000000000000005\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a chunk size of all ones", 400, post({ "Transfer-Encoding: chunked" },
        "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a chunk size that is no number", 400, post({ "Transfer-Encoding: chunked" },
        "g\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a chunk size with a trailing letter", 400, post({ "Transfer-Encoding: chunked" },
        "5z\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a blank before a chunk extension", 400, post({ "Transfer-Encoding: chunked" },
        "5 ;a=b\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a bare LF after the chunk size", 400, post({ "Transfer-Encoding: chunked" },
        "5\nhello\r\n0\r\n\r\n"), "body" },
    { "a bare CR after the chunk size", 400, post({ "Transfer-Encoding: chunked" },
        "5\rXhello\r\n0\r\n\r\n"), "body" },
    { "a bare LF after chunk data", 400, post({ "Transfer-Encoding: chunked" },
        "5\r\nhello\n0\r\n\r\n"), "body" },
    { "no line end after chunk data", 400, post({ "Transfer-Encoding: chunked" },
        "5\r\nhello0\r\n\r\n"), "body" },
    { "more data than the chunk says", 400, post({ "Transfer-Encoding: chunked" },
        "4\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a control byte in a chunk extension", 400, post({ "Transfer-Encoding: chunked" },
        "5;a=\1\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a bare LF in a chunk extension", 400, post({ "Transfer-Encoding: chunked" },
        "5;a\nb\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a chunk extension of 10 KB", 400, post({ "Transfer-Encoding: chunked" },
        "5;" .. ("a"):rep(10240) .. "\r\nhello\r\n0\r\n\r\n"), "body" },
    { "a trailer with a space before the colon", 400, post({ "Transfer-Encoding: chunked" },
        "5\r\nhello\r\n0\r\nX-T : v\r\n\r\n"), "body" },
    { "a folded trailer", 400, post({ "Transfer-Encoding: chunked" },
        "5\r\nhello\r\n0\r\nX-T: v\r\n w\r\n\r\n"), "body" },
    { "a trailer with a NUL", 400, post({ "Transfer-Encoding: chunked" },
        "5\r\nhello\r\n0\r\nX-T: \0\r\n\r\n"), "body" },
    { "a bare LF at the end of the trailers", 400, post({ "Transfer-Encoding: chunked" },
        "5\r\nhello\r\n0\r\n\n"), "body" },
    { "chunks over the body limit", 413, post({ "Transfer-Encoding: chunked" },
        "100000\r\n" .. ("x"):rep(0x100000) .. "\r\n1\r\nx\r\n0\r\n\r\n"), "body", "whole only" },
}

-- ------------------------------------- accepted: { name, bytes, what the origin must have got }

local CLOSE = "Connection: close"

M.ACCEPTED = {
    { "a plain request", get { "Host: a", CLOSE }, { target = "/x" } },
    { "one empty line first", CRLF .. get { "Host: a", CLOSE }, { target = "/x" } },
    { "an unknown method", req("FROB /x HTTP/1.1", { "Host: a", CLOSE }), { method = "FROB" } },
    { "a method in lower case as another method", req("get /x HTTP/1.1", { "Host: a", CLOSE }),
        { method = "get" } },
    { "a higher minor version", req("GET /x HTTP/1.2", { "Host: a", CLOSE }), { target = "/x" } },
    { "HTTP/1.0 without Host", "GET /x HTTP/1.0\r\n\r\n", { target = "/x" } },
    { "HTTP/1.0 with keep-alive", req("GET /x HTTP/1.0", { "Host: a",
        "Connection: close, keep-alive" }), { target = "/x" } },
    { "a host with a port", get { "Host: a:8080", CLOSE }, { fields = { host = "a:8080" } } },
    { "an IPv6 host", get { "Host: [::1]:80", CLOSE }, { fields = { host = "[::1]:80" } } },
    { "an absolute target: its host wins over Host", get({ "Host: other", CLOSE }, "http://a/x?y"),
        { target = "/x?y", fields = { host = "a" } } },
    { "an absolute target without a path", get({ "Host: a", CLOSE }, "http://a"),
        { target = "/" } },
    { "a scheme in upper case", get({ "Host: a", CLOSE }, "HTTP://a/x"), { target = "/x" } },
    { "OPTIONS with an asterisk", req("OPTIONS * HTTP/1.1", { "Host: a", CLOSE }),
        { target = "*" } },
    { "no space after the colon", get { "Host:a", "X-A:b", CLOSE },
        { fields = { ["x-a"] = "b" } } },
    { "blanks around a value", get { "Host: a", "X-A: \t b \t ", CLOSE },
        { fields = { ["x-a"] = "b" } } },
    { "an empty value", get { "Host: a", "X-A:", CLOSE }, { fields = { ["x-a"] = "" } } },
    { "high bytes in a value", get { "Host: a", "X-A: \xe9\xff", CLOSE },
        { fields = { ["x-a"] = "\xe9\xff" } } },
    { "a tab inside a value", get { "Host: a", "X-A: b\tc", CLOSE },
        { fields = { ["x-a"] = "b\tc" } } },
    { "the same field twice", get { "Host: a", "X-A: 1", "X-A: 2", CLOSE },
        { lists = { ["x-a"] = { "1", "2" } } } },
    { "a name with all token characters", get { "Host: a", "!#$%&'*+-.^_`|~09aZ: v", CLOSE },
        { fields = { ["!#$%&'*+-.^_`|~09az"] = "v" } } },
    { "dot segments, passed on as sent", get({ "Host: a", CLOSE }, "/a/./b/../c"),
        { target = "/a/./b/../c" } },
    { "an encoded slash, passed on as sent", get({ "Host: a", CLOSE }, "/a%2Fb"),
        { target = "/a%2Fb" } },
    { "a repeated slash, passed on as sent", get({ "Host: a", CLOSE }, "//a///b"),
        { target = "//a///b" } },
    { "a bare question mark", get({ "Host: a", CLOSE }, "/x?"), { target = "/x?" } },
    { "a question mark in the query", get({ "Host: a", CLOSE }, "/x?a?b"), { target = "/x?a?b" } },
    { "a body with its length", post({ "Content-Length: 5" }, "hello"), { body = "hello" } },
    { "a body of length 0", post { "Content-Length: 0" }, { body = "" } },
    { "a length with leading zeros", post({ "Content-Length: 0005" }, "hello"),
        { body = "hello" } },
    { "a GET with a body", req("GET /x HTTP/1.1", { "Host: a", CLOSE, "Content-Length: 5" },
        "hello"), { body = "hello" } },
    { "a chunked body", post({ "Transfer-Encoding: chunked" }, "5\r\nhello\r\n0\r\n\r\n"),
        { body = "hello" } },
    { "chunked in mixed case", post({ "Transfer-Encoding: ChUnKeD" }, "5\r\nhello\r\n0\r\n\r\n"),
        { body = "hello" } },
    { "several chunks", post({ "Transfer-Encoding: chunked" },
        "1\r\nh\r\n4\r\nello\r\n0\r\n\r\n"), { body = "hello" } },
    { "a chunk size in upper case with zeros", post({ "Transfer-Encoding: chunked" },
        "00A\r\n0123456789\r\n0\r\n\r\n"), { body = "0123456789" } },
    { "chunk extensions, dropped", post({ "Transfer-Encoding: chunked" },
        "5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n"), { body = "hello", never = "a=b" } },
    { "trailers", post({ "Transfer-Encoding: chunked" },
        "5\r\nhello\r\n0\r\nX-T: v\r\n\r\n"), { body = "hello" } },
    { "a trailer that would frame, dropped", post({ "Transfer-Encoding: chunked" },
        "5\r\nhello\r\n0\r\nContent-Length: 99\r\nHost: evil\r\n\r\n"),
        { body = "hello", never = "evil" } },
    { "hop-by-hop fields, dropped", get { "Host: a", "Keep-Alive: 5",
        "Proxy-Connection: keep-alive", "TE: gzip", "Proxy-Authorization: secret", CLOSE },
        { never = "secret", absent = { "keep-alive", "proxy-connection", "te",
            "proxy-authorization" } } },
    { "fields that Connection names, dropped", get { "Host: a", "X-Hop: 1", "X-Stay: 2",
        "Connection: close, x-hop" }, { absent = { "x-hop" }, fields = { ["x-stay"] = "2" } } },
    { "Connection cannot take Host away", get { "Host: a", "Connection: close, host" },
        { fields = { host = "a" } } },
    { "Connection cannot take the length away", req("POST /x HTTP/1.1", { "Host: a",
        "Connection: close, content-length", "Content-Length: 5" }, "hello"), { body = "hello" } },
    { "an upgrade to h2c, dropped", get { "Host: a", "Connection: close, upgrade, http2-settings",
        "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__" },
        { absent = { "upgrade", "http2-settings" } } },
    { "a spoofed X-Forwarded-For, replaced", get { "Host: a", "X-Forwarded-For: 6.6.6.6", CLOSE },
        { fields = { ["x-forwarded-for"] = "127.0.0.1" } } },
    { "a spoofed X-Forwarded-Proto and -Host, replaced", get { "Host: a",
        "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", CLOSE },
        { fields = { ["x-forwarded-proto"] = "http", ["x-forwarded-host"] = "a" } } },
    { "a spoofed Forwarded, dropped", get { "Host: a", "Forwarded: for=6.6.6.6", CLOSE },
        { absent = { "forwarded" } } },
    { "Via, continued", get { "Host: a", "Via: 1.0 fred", CLOSE },
        { fields = { via = "1.0 fred, 1.1 rproxy" } } },
    { "Via of a 1.0 client", req("GET /x HTTP/1.0", { "Host: a" }),
        { fields = { via = "1.0 rproxy" } } },
    { "an unknown field with an odd name", get { "Host: a", "Transfer_Encoding: chunked", CLOSE },
        { fields = { ["transfer_encoding"] = "chunked" }, body = "" } },
    { "100 fields", get((function()
        local all = { "Host: a", CLOSE }
        for i = 1, 98 do all[#all + 1] = "X-" .. i .. ": v" end
        return all
    end)()), { fields = { ["x-98"] = "v" } } },
    { "a target of 8,000 bytes", get({ "Host: a", CLOSE }, "/" .. ("x"):rep(7999)),
        { target = "/" .. ("x"):rep(7999) } },
}

return M
