-- SPDX-License-Identifier: MIT
--
-- websocket: WebSocket connections through the proxy. The echo server is a program of its own.
--
-- try: luajit examples/websocket/echo.lua 8081      (first: the origin; needs lua-socket)
-- try: xdg-open http://127.0.0.1:8080/              (or any browser: a page that talks to it)

local rp = require("rproxy")

local PAGE = [[
<!doctype html>
<meta charset="utf-8">
<title>rproxy: websocket</title>
<form id="form"><input id="text" autofocus><button>send</button></form>
<pre id="log"></pre>
<script>
const log = line => document.getElementById("log").textContent += line + "\n";
const ws = new WebSocket("ws://" + location.host + "/echo");
ws.onopen = () => log("open");
ws.onmessage = event => log("< " + event.data);
ws.onclose = event => log("closed " + event.code);
document.getElementById("form").onsubmit = event => {
  event.preventDefault();
  const text = document.getElementById("text");
  log("> " + text.value);
  ws.send(text.value);
  text.value = "";
};
</script>
]]

return rp.site {
    workers = 1,
    listeners = { rp.listen { "127.0.0.1:8080" } },

    upstreams = {
        echo = rp.upstream { peers = { "127.0.0.1:8081" } },
    },

    hosts = {
        rp.host {
            default = true,
            routes = {
                rp.route { "GET /", respond = { 200, PAGE,
                    headers = { ["content-type"] = "text/html; charset=utf-8" } } },
                -- Upgrades are passed on by default. Here frames are looked at, too: a message has
                -- at most 64 KB, and a browser that is gone is found by pings.
                rp.route { "GET /echo", upstream = "echo",
                    tunnel = { idle = "10m" },
                    websocket = { max_message = "64k", ping = "30s" } },
                rp.route { "GET /plain", upstream = "echo", upgrade = false },
            },
        },
    },
}
