-- SPDX-License-Identifier: MIT
--
-- options_discover: the rows of `discover` of rp.upstream: of every provider, and of each that
-- comes with rproxy. options.lua says what a row is.

local checks = require("rproxy.config.option_checks")
local member = require("rproxy.discover.member")

local M = {}

local function is_base_url(value)
    if value:find("^https?://[^/?#@%s]+/?$") then return true end
    return nil, 'a URL without a path, such as "https://127.0.0.1:8500"'
end

local function is_url(value)
    if value:find("^https?://[^/?#@%s]+[^#%s]*$") then return true end
    return nil, 'a URL such as "https://cmdb.example.com/nodes", without a user in it'
end

local function are_base_urls(list)
    for _, url in ipairs(list) do
        local ok, what = is_base_url(url)
        if not ok then return nil, "each of them " .. what end
    end
    return true
end

local function is_namespace(value)
    if #value <= 63 and value:find("^[%l%d][%l%d-]*$") then return true end
    return nil, "a name of lower case letters, digits and -"
end

local function is_port(value)
    if type(value) == "number" and value % 1 == 0 and value >= 1 and value <= 65535 then
        return true
    end
    if type(value) == "string" and value:find("^[%w-]+$") then return true end
    return nil, "the name or the number of a port"
end

local TLS = { name = "tls", type = "any", takes = "`true` or table", shown = "as the URL says",
    doc = "Settings as of `rp.tls`: ca, cert, key, name, sni, verify. Files are read when the site "
        .. "is loaded." }
local TIMEOUT = { name = "timeout", type = "duration", default = "10s", min = 0.1, max = 300,
    doc = "Of one request, but for those that wait for news." }
local TOKEN_FILE = { name = "token_file", type = "path",
    doc = "... from a file that is read before each request, so that it may be replaced. Workers' "
        .. "account must be able to read it." }

local function with(row, change)
    local out = {}
    for key, value in pairs(row) do out[key] = value end
    for key, value in pairs(change) do out[key] = value end
    return out
end

M.discover = {
    { name = "empty", type = "enum", values = { "keep", "take" }, default = "keep",
        doc = "What an answer without any member means: \"keep\" the last ones and warn, or "
            .. "\"take\" it: there are none, requests are answered 503." },
    { name = "wait", type = "duration", default = "5s", min = 0, max = 8,
        doc = "A start or a reload waits so long for the first answer, so that the first requests "
            .. "find members. After that it goes on without." },
    { name = "settle", type = "duration", default = "250ms", min = 0, max = 60,
        doc = "Changes that come sooner after another are put together." },
    { name = "max", type = "integer", default = member.MOST, min = 1, max = member.MOST,
        doc = "Members at most. An answer with more is not taken." },
    { name = "allow", type = "list<string>",
        doc = "Networks (`{ \"10.0.0.0/8\" }`) that members must be in: others, and names, are "
            .. "left out with a warning. Unsaid: any." },
}

M.found_routes = {
    { name = "hosts", type = "list<string>", required = true, shown = "required", min = 1,
        max = 256, check = checks.are_host_patterns,
        doc = "Names of hosts that may be claimed: \"shop.example.com\", \"*.apps.example.com\" "
            .. "(all below it), \"*\". Names that the site has are never taken." },
    { name = "chains", type = "any", takes = "table of lists of plugins", default = {},
        doc = "Plugins that a route may ask for by name: `{ login = { jwt_auth { .. } } }`." },
    { name = "host", type = "any", takes = "table", default = {},
        doc = "Options of rp.host for every host that is made: use, hsts, tls, error_pages." },
    { name = "route", type = "any", takes = "table", default = {},
        doc = "Options of rp.route for every route that is made: use, limits, timeouts, headers." },
    { name = "upstream", type = "any", takes = "table", default = {},
        doc = "Options of rp.upstream for every upstream that is made: balance, timeouts, health. "
            .. "`tls` counts for those that say tls." },
    { name = "most", type = "integer", default = 1000, min = 1, max = 4000,
        doc = "Routes at most; the youngest are left out." },
    { name = "gather", type = "duration", default = "1s", min = 0.05, max = 60,
        doc = "Changes of routes are taken in when none came for so long, and after five times as "
            .. "long at the latest." },
    { name = "pause", type = "duration", default = "5s", min = 0, max = 3600,
        doc = "Between two reloads because of routes, at least." },
}

M.discover_file = {
    { name = "path", type = "path", required = true, shown = "required",
        doc = "The file: JSON or lines. Relative to the folder of site.lua. Read by the workers' "
            .. "account." },
    { name = "every", type = "duration", default = "1s", min = 0.05, max = 3600,
        doc = "Between two looks at the file." },
}

M.discover_dns = {
    { name = "name", type = "string", required = true, shown = "required", min = 1, max = 253,
        check = checks.is_line, doc = "What is looked up: \"_http._tcp.api.example.com\" for SRV "
            .. "records, \"api.example.com\" for addresses." },
    { name = "type", type = "enum", values = { "SRV", "A", "AAAA", "any" },
        shown = "`\"SRV\"`, with port `\"any\"`",
        doc = "Which records: services with ports, weights and priorities; addresses of IPv4, of "
            .. "IPv6, of both." },
    { name = "port", type = "integer", min = 1, max = 65535,
        doc = "Of the members, where the records are addresses." },
    { name = "family", type = "enum", values = { "A", "AAAA", "any" }, default = "any",
        doc = "SRV: which addresses of the names that the records have." },
    { name = "every", type = "duration", default = "5s", min = 1, max = 3600,
        doc = "Between two looks. The resolver asks the server again only when a record's time to "
            .. "live is over (at the earliest after 5 seconds)." },
    with(TIMEOUT, { doc = "Of one look." }),
}

M.discover_consul = {
    { name = "service", type = "string", required = true, shown = "required", min = 1,
        check = checks.is_line, doc = "The service's name." },
    { name = "url", type = "string", default = "http://127.0.0.1:8500", check = is_base_url,
        doc = "Of a Consul agent, or server." },
    { name = "tags", type = "list<string>", doc = "Only members that have all of these." },
    { name = "passing", type = "boolean", default = true,
        doc = "Only members whose checks pass; false: also those with a warning, with their weight "
            .. "for that. Critical ones never." },
    { name = "datacenter", type = "string", shown = "the agent's", doc = "Another datacenter." },
    { name = "consistency", type = "enum", values = { "stale", "default", "consistent" },
        default = "stale", doc = "`stale`: any server may answer, also while there is no leader." },
    { name = "filter", type = "string", doc = "An expression of Consul's filter language." },
    { name = "namespace", type = "string", doc = "Consul Enterprise." },
    { name = "partition", type = "string", doc = "Consul Enterprise." },
    { name = "zone", type = "string", default = "zone", min = 1,
        doc = "Where a member's zone is: this name in the service's Meta, else in the node's; else "
            .. "Locality." },
    { name = "wait_time", type = "duration", default = "5m", min = 1, max = 600,
        doc = "Of one blocking query." },
    { name = "token", type = "string", secret = true, min = 1, check = checks.is_line,
        doc = "ACL token: `os.getenv(\"CONSUL_HTTP_TOKEN\")`." },
    TOKEN_FILE, TIMEOUT, TLS,
}

M.discover_etcd = {
    { name = "prefix", type = "string", required = true, shown = "required", min = 1,
        doc = "Members are the keys that begin so: \"/services/api/\"." },
    { name = "endpoints", type = "list<string>", default = { "http://127.0.0.1:2379" }, min = 1,
        max = 16, check = are_base_urls, doc = "Members of the etcd cluster; the next one is asked "
            .. "when one fails." },
    { name = "user", type = "string", min = 1, doc = "Where etcd wants to know who asks." },
    { name = "password", type = "string", secret = true, min = 1,
        doc = "`os.getenv(\"ETCD_PASSWORD\")`." },
    { name = "password_file", type = "path", doc = "... from a file, read when it is needed." },
    { name = "resync", type = "duration", default = "5m", min = 1, max = 86400,
        doc = "All keys are asked for so often, whatever the watch said." },
    TIMEOUT, TLS,
}

M.discover_docker = {
    { name = "name", type = "string", min = 1, shown = "the upstream's",
        doc = "Containers whose label `rproxy.upstream` has this name in it." },
    { name = "socket", type = "path", default = "/var/run/docker.sock",
        doc = "Socket of the Engine. Whoever may use it is root on that host: see the guide." },
    { name = "url", type = "string", check = is_base_url,
        doc = "The Engine over TCP instead: `\"https://docker1:2376\"`." },
    { name = "port", type = "integer", min = 1, max = 65535,
        doc = "Port in the container; a label `rproxy.port` says otherwise. Unsaid: its only "
            .. "one." },
    { name = "network", type = "string", min = 1,
        doc = "Network whose address is taken; a label `rproxy.network` says otherwise. Unsaid: "
            .. "its only one." },
    { name = "published", type = "boolean", default = false,
        doc = "Take the ports as they are published on the host, not the container's address." },
    { name = "host", type = "string", default = "127.0.0.1", min = 1,
        doc = "The host, for published ports and for containers in the host's network." },
    { name = "healthy", type = "boolean", default = true,
        doc = "Leave out containers whose HEALTHCHECK fails, or has not passed yet." },
    { name = "resync", type = "duration", default = "5m", min = 1, max = 86400,
        doc = "All containers are asked for so often, whatever the events said." },
    TIMEOUT, TLS,
}

M.discover_kubernetes = {
    { name = "service", type = "string", required = true, shown = "required",
        check = is_namespace, doc = "The Service whose EndpointSlices are watched." },
    { name = "namespace", type = "string", check = is_namespace,
        shown = "the pod's own, or default",
        doc = "Where it is." },
    { name = "port", type = "any", takes = "name or number", check = is_port,
        doc = "Which of its ports; unsaid: its only one." },
    { name = "family", type = "enum", values = { "auto", "ipv4", "ipv6" }, default = "auto",
        doc = "Addresses of which family; auto: IPv4 where there are any." },
    { name = "url", type = "string", check = is_base_url, shown = "that of the cluster it runs in",
        doc = "Of the API server. Unsaid: KUBERNETES_SERVICE_HOST and _PORT, the service account's "
            .. "token and its ca.crt." },
    { name = "token", type = "string", secret = true, min = 1, check = checks.is_line,
        doc = "Bearer token." },
    TOKEN_FILE,
    { name = "watch", type = "duration", default = "5m", min = 1, max = 3600,
        doc = "A watch lasts so long, and goes on where it was." },
    { name = "resync", type = "duration", default = "30m", min = 1, max = 86400,
        doc = "The whole list is asked for so often, whatever the watch said." },
    TIMEOUT, TLS,
}

M.discover_http = {
    { name = "url", type = "string", required = true, shown = "required", check = is_url,
        doc = "A JSON document." },
    { name = "path", type = "string", min = 1, doc = "Where in it the list is: \"data.nodes\"." },
    { name = "fields", type = "map<string>",
        doc = "Where in an item its fields are: `{ host = \"ip\", port = \"ports.http\", weight = "
            .. "\"w\" }`. Unsaid: by their own names." },
    { name = "every", type = "duration", default = "30s", min = 0.1, max = 86400,
        doc = "Between two questions. ETag and Last-Modified are used." },
    { name = "headers", type = "headers", doc = "Further fields of the request; not shown by -T." },
    { name = "token", type = "string", secret = true, min = 1, check = checks.is_line,
        doc = "Bearer token." },
    TOKEN_FILE, TIMEOUT, TLS,
}

--- Providers that come with rproxy, in the order of the reference.
M.KINDS = { "file", "dns", "consul", "etcd", "docker", "kubernetes", "http" }

return M
