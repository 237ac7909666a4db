-- SPDX-License-Identifier: MIT
--
-- What Lua may do to a response, and where: mistakes are told. The answers themselves are in
-- spec/e2e/answers_spec.lua.

local support = require("spec.unit.script.support")

local site

-- The message with which an expression raises in a content hook.
local function complaint(statement)
    site = support.site(([[ rp.route { "/*", content = function(req)
        local ok, err = pcall(function() %s end)
        return req:exit(200, ok and "fine" or err) end } ]]):format(statement))
    return site:get("/").body
end

-- The same in a hook of the response: one request makes it, the next one asks.
local function of_response(hook, statement)
    site = support.site(([[ (function()
        local said
        return rp.route { "/*", respond = { 200, "x" }, use = { { %s = function(req, res)
                local ok, err = pcall(function() %s end)
                said = said or ok and "fine" or err
            end } } },
            rp.route { "/said", content = function(req) return req:exit(200, said) end }
    end)() ]]):format(hook, statement))
    site:get("/")
    local text = site:get("/said").body
    site:close()
    site = nil
    return text
end

local function has(text, part)
    assert.truthy(text:find(part, 1, true), text)
end

describe("script/abi: answers", function()
    after_each(function()
        if site then site:close() end
        site = nil
    end)

    it("check what they are given", function()
        for statement, words in pairs {
            ["req:respond(99)"] = "status from 200 to 599",
            ["req:respond('200')"] = "status from 200 to 599",
            ["req:respond(200, nil, { lenght = 1 })"] = 'no option "lenght"',
            ["req:respond(200, nil, { length = -1 })"] = "a whole number from 0",
            ["req:respond(200, nil, { idle = 0 })"] = "number of seconds, or false",
            ["req:respond(200, nil, 7)"] = "table of options",
            ["req:respond(200, { ['content-length'] = '1' })"] = "written by rproxy itself",
            ["req:respond(200, { ['x-a'] = 'a\\r\\nb: c' })"] = "do not belong there",
            ["req:respond(200):write(print)"] = "a string or a list of strings",
            ["req:respond(200):close(1)"] = "a table of trailers",
            ["req:respond(200):close { ['x-a'] = 'a\\nb' }"] = "do not belong there",
            ["req:events { keepalive = 'x' }"] = "number of seconds, or false",
            ["req:events { retri = 1 }"] = 'no option "retri"',
            ["req:events():comment(7)"] = "takes a string",
            ["assert(rp.all { function() req:respond(200) end })"] = "by the hook itself",
            ["req:respond(200).nothing = 1"] = 'no field "nothing"',
            ["return req:respond(200).lenght"] = 'no field "lenght"',
        } do
            has(complaint(statement), words)
            site:close()
            site = nil
        end
    end)

    it("can be begun before there is a response only", function()
        for _, hook in ipairs { "header_filter", "body_filter" } do
            has(of_response(hook, "req:respond(200)"),
                "is begun in early, access, rewrite or content")
        end
    end)

    it("tell where bodies and trailers can be changed", function()
        for statement, words in pairs {
            ["res:body()"] = "in header_filter",
            ["res:set_body('x')"] = "in header_filter",
            ["res:buffer {}"] = "in header_filter",
        } do
            has(of_response("body_filter", statement), words)
        end
    end)

    it("check what a body is", function()
        for statement, words in pairs {
            ["res:set_body(7)"] = "takes a string",
            ["res:set_body { print }"] = "no JSON",
            ["res:buffer { max = 'x' }"] = "number of bytes",
            ["res:body { max = -1 }"] = "number of bytes",
            ["res:trailer('host', 'x')"] = "cannot be a trailer",
            ["res:trailer(7, 'x')"] = "a header is a name",
            ["res:trailer('x-a', {})"] = "string or a number",
        } do
            has(of_response("header_filter", statement), words)
        end
    end)
end)
