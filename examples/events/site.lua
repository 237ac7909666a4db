-- SPDX-License-Identifier: MIT
--
-- events: server-sent events made by the proxy itself: a page that shows what others write to it.
--
-- try: xdg-open http://127.0.0.1:8080/                             (several of them)
-- try: curl -N http://127.0.0.1:8080/events
-- try: curl -d "hello" http://127.0.0.1:8080/say

local rp = require("rproxy")

local PAGE = [[
<!doctype html>
<meta charset="utf-8">
<title>rproxy: events</title>
<form id="form"><input id="text" autofocus><button>say</button></form>
<pre id="log"></pre>
<script>
const log = line => document.getElementById("log").textContent += line + "\n";
const events = new EventSource("/events");
events.onopen = () => log("open");
events.onerror = () => log("gone; the browser comes back by itself");
events.addEventListener("said", event => log(event.lastEventId + ": " + event.data));
document.getElementById("form").onsubmit = event => {
  event.preventDefault();
  fetch("/say", { method: "POST", body: document.getElementById("text").value });
  event.target.reset();
};
</script>
]]

local KEEP = 100 -- of what was said, for those who come late

-- The last number is in memory of all workers: each browser may be served by another one.
local function say(text)
    local said = rp.shared.said
    local id = assert(said:incr("last", 1, 0))
    said:set("text:" .. id, text, 3600)
    return id
end

-- What was said after `id`, and who came back goes on where it was.
local function tell_since(es, id)
    local last = rp.shared.said:get("last") or 0
    for n = math.max(id, last - KEEP) + 1, last do
        local text = rp.shared.said:get("text:" .. n)
        if text and not es:send { event = "said", id = n, data = text } then return nil end
    end
    return last
end

return rp.site {
    workers = 2,
    listeners = { rp.listen { "127.0.0.1:8080" } },
    shared = { said = rp.shm.store { size = "1m" } },

    hosts = {
        rp.host {
            default = true,
            routes = {
                rp.route { "GET /", content = function(req)
                    req:early_hints { link = "</events>; rel=preconnect" }
                    return req:exit(200, PAGE, { ["content-type"] = "text/html; charset=utf-8" })
                end },
                rp.route { "POST /say", limits = { body = "4k" }, content = function(req)
                    local text = req:body()
                    return req:exit(200, { id = say(text) })
                end },
                rp.route { "GET /events", content = function(req)
                    local es = req:events { retry = 2 }
                    local id = tonumber(es.last_event_id) or 0
                    -- The client's end cancels this where it waits. After a reload browsers are
                    -- sent to the new configuration, or this one would live as long as they do.
                    while id and not es.leaving do
                        id = tell_since(es, id)
                        rp.sleep(0.1)
                    end
                    return es:close()
                end },
            },
        },
    },
}
