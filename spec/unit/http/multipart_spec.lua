-- SPDX-License-Identifier: MIT
--
-- multipart: forms in parts, cut at every byte, and all that is refused.

local c = require("spec.support.c")

local ffi, s = c.ffi, c.str
local C = c.load { "http/multipart.h" }

local PART, DATA, END = 0, 1, 2

describe("multipart", function()
    local function boundary(content_type)
        local out, n = ffi.new("char[70]"), ffi.new("size_t[1]")
        local e = C.rp_multipart_boundary(s(content_type), out, n)
        return e == 0 and ffi.string(out, n[0]) or c.err_name(e)
    end

    -- What the parts are, or the error's name; fed in pieces of `step` bytes.
    local function read(body, step, most)
        local m, event = ffi.new("struct rp_multipart"), ffi.new("enum rp_multipart_event[1]")
        assert.equal(0, C.rp_multipart_init(m, s "x", most or 10))
        local parts, done, code = {}, false, nil
        local keep = {}
        for from = 1, #body, step do
            keep[1] = body:sub(from, from + step - 1)
            code = C.rp_multipart_feed(m, s(keep[1]))
            while code >= 0 do
                code = C.rp_multipart_next(m, event)
                if code ~= 0 then break end
                local kind = tonumber(event[0])
                if kind == PART then
                    parts[#parts + 1] = { name = c.lua(m.name), type = c.lua(m.type), body = "",
                        filename = m.has_filename and c.lua(m.filename) or nil }
                elseif kind == DATA then
                    parts[#parts].body = parts[#parts].body .. c.lua(m.data)
                elseif kind == END then
                    parts[#parts].whole = true
                else
                    done = true
                end
            end
            if code < 0 then break end
        end
        C.rp_multipart_fini(m)
        if code and code < 0 then return c.err_name(code) end
        return done and parts or "cut off"
    end

    local D = 'Content-Disposition: form-data; '
    local BODY = "--x\r\n" .. D .. 'name="a"\r\n\r\nhello\r\n-\r\n--\r\n--y\r\n--x\r\n' .. D
        .. 'NAME=b; FileName="c\\"d\\e.txt"\r\nContent-Type: text/plain; q=1\r\nX-Other: 1\r\n\r\n\0\1\r\n'
        .. "\r\n--x\r\n" .. D .. 'name=""; filename=""\r\n\r\n\r\n--x--\r\n'
    local PARTS = {
        { name = "a", body = "hello\r\n-\r\n--\r\n--y", whole = true },
        { name = "b", filename = 'c"d\\e.txt', type = "text/plain; q=1", body = "\0\1\r\n",
            whole = true },
        { name = "", filename = "", body = "", whole = true },
    }

    it("takes a boundary out of a Content-Type, one that is one", function()
        assert.equal("x", boundary "multipart/form-data; boundary=x")
        assert.equal("a b'():", boundary 'Multipart/Form-Data;charset=utf-8 ; BOUNDARY="a b\'():"')
        for _, bad in ipairs { "", "multipart/form-data", "multipart/mixed; boundary=x",
            "multipart/form-data; boundary=", 'multipart/form-data; boundary=""',
            "multipart/form-data; boundary=x; boundary=y", 'multipart/form-data; boundary="x ',
            'multipart/form-data; boundary="x "', "multipart/form-data; boundary=" .. ("x"):rep(71),
            'multipart/form-data; boundary="x\r\ny"', "multipart/form-data; boundary=x y",
            "multipart/form-data, boundary=x", "multipart/form-data;" .. (" "):rep(2000) } do
            assert.equal("INVALID", boundary(bad), bad)
        end
    end)

    it("reads parts, however the body is cut", function()
        for step = 1, #BODY do assert.same(PARTS, read(BODY, step)) end
        assert.same(PARTS, read(BODY:sub(1, -3), 5)) -- without the last line end
        for n = 1, #BODY - 3 do assert.equal("cut off", read(BODY:sub(1, n), 7)) end
    end)

    it("refuses what others could read otherwise", function()
        local function part(head) return "--x\r\n" .. head .. "\r\n\r\nv\r\n--x--" end
        assert.equal("v", read(part(D .. "name=a"), 3)[1].body)
        for _, bad in ipairs { "preamble\r\n" .. BODY, "\r\n" .. BODY, "--x--x\r\n", BODY .. "more",
            BODY .. "\r\n", "--x \r\n", "--x\n" .. D .. "name=a\n\nv\n--x--\n", "--y\r\n",
            part "X: y", part(D .. "filename=a"), part("Content-Disposition: attachment; name=a"),
            part(D .. "name=a\r\n" .. D .. "name=b"), part(D .. "name=a; name=b"),
            part(D .. "name=a; filename=a; filename=b"), part(D .. "name=a; filename*=utf-8''x"),
            part(D .. 'name="a'), part(D .. "name"), part(D .. "name="), part(D .. "name=a b"),
            part(D .. "name=a\r\n folded: x"), part(D .. "name=a\r\nno colon"),
            part(D .. "name=a\r\n: x"), part(D .. 'name="a\0b"'), part(D .. "name=a\rb"),
            part(D .. "name=a\r\nContent-Type: a\r\nContent-Type: b"),
            part(D .. "name=a\r\nContent-Transfer-Encoding: base64"), part("") } do
            for _, step in ipairs { 1, 4, 1000 } do
                assert.equal("INVALID", read(bad, step), bad)
            end
        end
    end)

    it("has limits: parts, lines and bytes of a header", function()
        assert.equal("CAP", read(BODY, 9, 2))
        assert.same(PARTS, read(BODY, 9, 3))
        assert.equal("TOO_BIG", read("--x\r\n" .. ("A: b\r\n"):rep(20) .. D .. "name=a\r\n\r\n", 50))
        assert.equal("TOO_BIG", read("--x\r\nA: " .. ("b"):rep(20000), 100))
        assert.equal("TOO_BIG", read("--x\r\nA: " .. ("b"):rep(20000), 100000))
    end)
end)
