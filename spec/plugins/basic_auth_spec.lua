-- SPDX-License-Identifier: MIT

local support = require("spec.unit.script.support")

-- htpasswd's own forms: bcrypt of "secret", apr1 of "password".
local USERS = "# users\n\nann:$2y$04$%s\nbob:$apr1$hpN5sqRD$B1aGqz53PXPeYpMoyGDdn1\r\n"
    .. "carl:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=:more\n"

describe("plugin basic-auth", function()
    local site

    after_each(function()
        if site then site:close() end
        site = nil
    end)

    local function serve(users, opts)
        site = support.site(([[ rp.route { "/*",
            use = { require("plugins.basic_auth") { file = "users", %s } },
            content = function(req) return req:exit(200, req.consumer) end } ]]):format(opts or ""),
            { files = { users = users:format("x") } })
    end

    local b64 = require("mime").b64
    local function ask(name, password, fields)
        local headers = fields or { authorization = "Basic " .. b64(name .. ":" .. password) }
        local res = site:get("/", headers, 30)
        return res.status, res.body, res.headers
    end

    it("lets in who knows the password, and nobody else", function()
        serve(USERS)
        for _ = 1, 3 do
            assert.same({ 200, "bob" }, { (ask("bob", "password")), (select(2, ask("bob", "password"))) })
            assert.equal(401, (ask("bob", "Password")))
        end
        assert.equal(200, (ask("carl", "secret")))
        for _, bad in ipairs { { "bob", "" }, { "", "password" }, { "eve", "password" },
            { "bob", ("x"):rep(600) }, { "ann", "secret" }, { "bob\0", "password" } } do
            assert.equal(401, (ask(bad[1], bad[2])))
        end
    end)

    it("asks for them, and takes one strict form", function()
        serve(USERS, 'realm = "here"')
        local status, _, headers = ask(nil, nil, {})
        assert.equal(401, status)
        assert.equal('Basic realm="here", charset="UTF-8"', headers["www-authenticate"])
        for _, value in ipairs { "Basic", "Basic !!", "Bearer x", "Basic " .. b64("bob"), "Basic  a b" } do
            assert.equal(401, (ask(nil, nil, { authorization = value })))
        end
        assert.equal(200, (ask(nil, nil, { authorization = "bASIC  " .. b64("bob:password") })))
    end)

    it("remembers what was right, and never what was not", function()
        serve(USERS, "remember = 60, at_once = 1")
        for _ = 1, 20 do assert.equal(200, (ask("bob", "password"))) end
        assert.equal(401, (ask("bob", "passwor")))
        assert.equal(200, (ask("bob", "password")))
        assert.equal(401, (ask("bob", "password2")))
    end)

    it("refuses files that would let nobody or anybody in", function()
        for text, words in pairs { ["ann"] = "users:1: expected name:hash",
            ["ann:secret"] = "users:1: not a hash", ["\nann:abJnggxhB/yWI"] = "users:2: not a hash",
            ["a:{SHA}x\na:{SHA}y"] = "users:2: a is there twice" } do
            local ok, err = pcall(serve, text)
            assert.is_false(ok)
            assert.matches(words, err)
        end
    end)
end)
