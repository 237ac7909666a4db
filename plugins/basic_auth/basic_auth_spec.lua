-- SPDX-License-Identifier: MIT
local rp = require("rproxy")
local t = require("rproxy.test")
local basic_auth = require("plugins.basic_auth")

-- "secret" by htpasswd -B with cost 4: cheap, as a spec wants it.
local HASH = "$2y$04$CnqJZ3uWyHrSwCG3Ztp4seG2Pu68pRqopkYHyg7/nKuYBzNakY3Qm"

describe("plugin basic-auth", function()
    local path

    setup(function()
        path = os.tmpname()
        os.remove(path)
        path = path .. ".txt"
        local file = assert(io.open(path, "w"))
        file:write("ann:", HASH, "\n")
        file:close()
    end)
    teardown(function() os.remove(path) end)

    local function ask(site, name, password)
        return site:get("/", { headers = { authorization = name and "Basic "
            .. rp.b64(name .. ":" .. password) } })
    end

    it("asks for a name and a password", function()
        local site = t.site { use = { basic_auth { file = path, realm = "office" } } }
        local res = ask(site)
        assert.equal(401, res.status)
        assert.equal('Basic realm="office", charset="UTF-8"', res.headers["www-authenticate"])
        assert.is_nil(res.upstream)
    end)

    it("lets the right password through, without it, and remembers it for a while", function()
        local site = t.site { use = { basic_auth { file = path, remember = 60 } } }
        local res = ask(site, "ann", "secret")
        assert.equal(200, res.status)
        assert.is_nil(res.upstream.headers["authorization"])
        assert.equal(200, ask(site, "ann", "secret").status)
        t.clock:advance(61)
        assert.equal(200, ask(site, "ann", "secret").status)
        assert.equal(401, ask(site, "ann", "Secret").status)
    end)

    it("refuses a wrong password and an unknown name alike", function()
        local site = t.site { use = { basic_auth { file = path } } }
        local wrong, unknown = ask(site, "ann", "wrong"), ask(site, "bob", "secret")
        assert.equal(401, wrong.status)
        assert.equal(401, unknown.status)
        assert.equal(wrong.body, unknown.body)
    end)
end)
