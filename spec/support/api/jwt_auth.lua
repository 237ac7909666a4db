-- SPDX-License-Identifier: MIT
local rp = require "rproxy"
local json, crypto, log = rp.json, rp.crypto, rp.log

local AUTHZ = rp.header "authorization"          -- interned header id, resolved once at load
local TOKEN = rp.regex [[^Bearer +([\w-]+)\.([\w-]+)\.([\w-]+)$]]
local ALGS  = { RS256 = true, ES256 = true, EdDSA = true }   -- closed list: no "none", no HMAC confusion

local M = rp.plugin {
  name   = "jwt-auth",
  stage  = "auth",                               -- used by the order linter, not by the scheduler
  schema = {
    issuer   = { "string", required = true },
    audience = { "string", required = true },
    jwks     = { "url", required = true },
    leeway   = { "number", default = 30 },
    refresh  = { "duration", default = 300 },
    claims   = { "map<string>", default = { ["x-user"] = "sub" } },  -- header -> claim, sent upstream
  },
}

function M.setup(conf)                           -- once per use, per worker: conf is validated and frozen
  local http = rp.http.client { timeout = 5, keepalive = 2 }
  local keys = {}                                -- kid -> verifier (public key parsed once)
  local seen = rp.lru(4096)                      -- signature digest -> claims of tokens already verified
  local forward = {}
  for header, claim in pairs(conf.claims) do forward[#forward + 1] = { rp.header(header), claim } end

  local function load_keys()
    local res, err = http:get(conf.jwks)         -- yields; allowed in every hook
    if not res or res.status ~= 200 then return nil, err or ("jwks status " .. res.status) end
    local fresh = {}
    for _, jwk in ipairs(json.decode(res.body).keys) do
      local v = crypto.verifier { jwk = jwk }
      if v then fresh[jwk.kid] = v end
    end
    keys = fresh
    return true
  end

  local function check(req)
    local h, p, s = req:match(AUTHZ, TOKEN)      -- regex runs on the header bytes; only captures become strings
    if not h then return nil, "missing token" end
    local digest = crypto.sha256(h, ".", p, ".", s)
    local claims = seen:get(digest)
    if not claims then
      local head = json.decode(crypto.unb64url(h))
      if not head or not ALGS[head.alg] then return nil, "algorithm" end
      local key = keys[head.kid]
      if not key and rp.once("jwks:" .. conf.jwks, 10, load_keys) then key = keys[head.kid] end
      if not key then return nil, "unknown key" end
      if not key:verify(head.alg, h .. "." .. p, crypto.unb64url(s)) then return nil, "signature" end
      claims = json.decode(crypto.unb64url(p))
      seen:set(digest, claims)
    end
    local now = rp.time()
    if claims.iss ~= conf.issuer then return nil, "issuer" end
    if not rp.contains(claims.aud, conf.audience) then return nil, "audience" end
    if now > (claims.exp or 0) + conf.leeway then return nil, "expired" end
    if now < (claims.nbf or 0) - conf.leeway then return nil, "not yet valid" end
    return claims
  end

  return {
    start = function()                           -- runs before this worker accepts; may yield
      local ok, err = load_keys()
      if not ok then log.warn("jwks not loaded, will retry", { url = conf.jwks, err = err }) end
      rp.every(conf.refresh, load_keys, { jitter = 0.2 })
    end,
    access = function(req)
      local claims, why = check(req)
      if not claims then
        return req:exit(401, { error = "unauthorized", reason = why },
                        { ["www-authenticate"] = 'Bearer error="invalid_token"' })
      end
      req.consumer = claims.sub                  -- standard slot read by limiters and loggers
      for i = 1, #forward do
        local f = forward[i]
        req.up:set(f[1], claims[f[2]])           -- replaces what the client sent: no spoofing
      end
      req.up:del(AUTHZ)
    end,
  }
end

return M
