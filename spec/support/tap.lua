-- SPDX-License-Identifier: MIT
--
-- tap: the output handler of our spec runs. "# now NAME" as a test begins, and a line as it ends, so
-- that a crash shows how far the file came; reasons with tracebacks; "1..N" last, which is missing
-- after a crash.
--
--   luajit $(command -v busted) -o spec/support/tap.lua FILE

return function()
    local busted = require("busted")
    local base = require("busted.outputHandlers.base")()
    local n = 0
    local reasons = {} -- of the test under way
    local why_not -- it is left out, as the test says

    local function write(line)
        io.stdout:write(line, "\n")
        io.stdout:flush()
    end

    local function note(element, message, trace)
        local text = type(message) == "string" and message or require("pl.pretty").write(message)
        local lines = { base.getFullName(element) .. ":" }
        for line in (text .. "\n" .. (trace and trace.traceback or "")):gmatch("[^\n]+") do
            -- the frames of busted itself say nothing
            if not line:find("/busted/", 1, true) then lines[#lines + 1] = "    " .. line end
        end
        reasons[#reasons + 1] = table.concat(lines, "\n")
    end

    local function flush_reasons()
        for _, reason in ipairs(reasons) do
            write("# " .. reason:gsub("\n", "\n# "))
        end
        reasons = {}
    end

    function base.on_test_start(element)
        write("# now " .. base.getFullName(element))
        return nil, true
    end

    function base.on_test_end(element, _, status)
        n = n + 1
        local name = base.getFullName(element)
        if status == "pending" then
            write(("ok %d - # SKIP %s%s"):format(n, name, why_not and " # " .. why_not or ""))
            why_not = nil
        else
            write(("%s %d - %s"):format(status == "success" and "ok" or "not ok", n, name))
        end
        flush_reasons()
        return nil, true
    end

    function base.on_trouble(element, _, message, trace)
        note(element, message, trace)
        if element.descriptor ~= "it" then -- a hook or the file itself: no test will report it
            n = n + 1
            write(("not ok %d - %s"):format(n, base.getFullName(element)))
            flush_reasons()
        end
        return nil, true
    end

    function base.on_pending(_, _, message)
        local text = type(message) == "string" and message or nil
        why_not = text and text:gsub("%s+", " "):gsub("^%S+:%d+: ", "")
        return nil, true
    end

    function base.on_suite_end()
        write("1.." .. n)
        return nil, true
    end

    function base:subscribe(options)
        require("busted.languages.en")
        self.options = options
        busted.subscribe({ "test", "start" }, self.on_test_start)
        busted.subscribe({ "test", "end" }, self.on_test_end)
        busted.subscribe({ "failure" }, self.on_trouble)
        busted.subscribe({ "error" }, self.on_trouble)
        busted.subscribe({ "pending" }, self.on_pending)
        busted.subscribe({ "suite", "end" }, self.on_suite_end)
    end

    return base
end
