-- SPDX-License-Identifier: MIT
std = "luajit"
max_line_length = 100
codes = true
exclude_files = { "build", "dist" }
self = false
-- A hook's signature is fixed; an argument that one hook does not use is named all the same.
unused_args = false

-- Bytes of the wire and messages in a spec are easier to read whole.
files["spec"] = { std = "luajit+busted", max_line_length = 110 }
files["plugins/*/*_spec.lua"] = { std = "luajit+busted" }
-- These are as the documentation of the interface has them.
files["spec/support/api"] = { std = "luajit+busted", max_line_length = 120,
    read_globals = { assert = { other_fields = true } } }
