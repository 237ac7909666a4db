-- SPDX-License-Identifier: MIT
--
-- ip: addresses and sets of networks. IPv4 and what of IPv6 is mapped to it (::ffff:1.2.3.4) are
-- the same.

local abi = require("rproxy.abi")
local object = require("rproxy.object")

local C, H = abi.C, abi.H
local raise = object.raise

local M = {}

local BYTES, IP4_BITS = 16, 96
local scratch = abi.new("char[?]", BYTES)

-- [1] the 16 bytes, version
local Ip = {}
Ip.__index = Ip
Ip.__metatable = "ip"

local function make(bytes, version)
    return setmetatable({ bytes, version = version }, Ip)
end

--- An address from its text.
--- @param text string  "192.0.2.1", "2001:db8::1"
--- @return table|nil ip, string|nil err  "invalid"
function M.new(text)
    if type(text) ~= "string" then raise("rp.ip takes a string, got a %s", type(text)) end
    if C.rp_abi_ip_parse(H, text, #text, scratch) ~= 0 then return nil, "invalid" end
    return make(abi.string(scratch, BYTES), H.number)
end

function Ip:__tostring()
    C.rp_abi_ip_text(H, self[1])
    return abi.out()
end

function Ip.__eq(a, b) return a[1] == b[1] end

--- In the order of numbers, IPv4 before most of IPv6 (as ::ffff:0:0/96).
function Ip.__lt(a, b) return a[1] < b[1] end
function Ip.__le(a, b) return a[1] <= b[1] end

--- The first address of the network of so many bits that this one lies in.
--- @param bits number  0 to 32, of IPv6 to 128
function Ip:mask(bits)
    local most = self.version == 4 and 32 or 128
    if type(bits) ~= "number" or bits % 1 ~= 0 or bits < 0 or bits > most then
        raise("ip:mask takes a number of bits, 0 to %d", most)
    end
    local copy = abi.new("char[?]", BYTES)
    abi.copy(copy, self[1], BYTES)
    C.rp_abi_ip_mask(copy, self.version == 4 and bits + IP4_BITS or bits)
    return make(abi.string(copy, BYTES), self.version)
end

--- Is it in a network ("10.0.0.0/8"), or in a set of rp.cidr?
function Ip:is_in(what)
    if type(what) == "table" and what.has then return what:has(self) end
    if type(what) ~= "string" then raise("ip:is_in takes a network or a set of rp.cidr") end
    if C.rp_abi_cidr_parse(H, what, #what, scratch) ~= 0 then raise("%q is no network", what) end
    local bits, base = H.number, abi.new("char[?]", BYTES)
    -- "::/0" says nothing about IPv4.
    local is_ip4_net = bits >= IP4_BITS
        and abi.string(scratch, 12) == ("\0"):rep(10) .. "\255\255"
    if is_ip4_net ~= (self.version == 4) then return false end
    abi.copy(base, self[1], BYTES)
    C.rp_abi_ip_mask(base, bits)
    C.rp_abi_ip_mask(scratch, bits)
    return abi.string(base, BYTES) == abi.string(scratch, BYTES)
end

-- ---------------------------------------------------------------- sets

local Nets = {}
Nets.__index = Nets
Nets.__metatable = "cidr"

--- A set of networks of this VM, made once: rp.cidr { "10.0.0.0/8", "2001:db8::/32" }.
--- @param list string[]
--- @return table|nil set, string|nil err  which one is no network
function M.cidr(list)
    if type(list) ~= "table" then raise("rp.cidr takes a list of networks") end
    local pointer = C.rp_abi_nets_new(#list)
    if pointer == nil then return nil, "too many networks" end
    local set = setmetatable({ abi.gc(pointer, C.rp_abi_nets_free) }, Nets)
    for i, text in ipairs(list) do
        if type(text) ~= "string" or C.rp_abi_nets_add(pointer, text, #text) ~= 0 then
            return nil, ("%s is no network (entry %d)"):format(tostring(text), i)
        end
    end
    return set
end

--- Is the address in one of the networks?
--- @param ip string|table  a text or a value of rp.ip
--- @return boolean|nil in_it  nil, "invalid": no address
function Nets:has(ip)
    if type(ip) == "table" then return C.rp_abi_nets_has_ip(self[1], ip[1]) end
    if type(ip) ~= "string" then raise("a set of rp.cidr has addresses") end
    local code = C.rp_abi_nets_has(self[1], ip, #ip)
    if code == 0 then return true end
    if code == abi.E.NOT_FOUND then return false end
    return nil, "invalid"
end

-- ---------------------------------------------------------------- kinds

-- RFC 1918, 4193, 6598 (carriers), 3927 and 4291 (links)
local KINDS = {
    private = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7" },
    loopback = { "127.0.0.0/8", "::1" },
    link_local = { "169.254.0.0/16", "fe80::/10" },
    shared = { "100.64.0.0/10" },
    multicast = { "224.0.0.0/4", "ff00::/8" },
    unspecified = { "0.0.0.0", "::" },
    reserved = { "0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "2001:db8::/32", "100::/64" },
}
local sets = {}

local function is(ip, kind)
    if not sets[kind] then sets[kind] = assert(M.cidr(KINDS[kind])) end
    return sets[kind]:has(ip)
end

--- 10/8, 172.16/12, 192.168/16, fc00::/7.
function Ip:is_private() return is(self, "private") end
function Ip:is_loopback() return is(self, "loopback") end
function Ip:is_link_local() return is(self, "link_local") end
function Ip:is_multicast() return is(self, "multicast") end

--- Can it be reached from anywhere? None of the above, nor of what is reserved or the carriers'.
function Ip:is_global()
    for kind in pairs(KINDS) do
        if is(self, kind) then return false end
    end
    return true
end

return M
