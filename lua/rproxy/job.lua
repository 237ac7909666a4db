-- SPDX-License-Identifier: MIT
--
-- job: waiting for what C does on a thread of the pool. For the layer only.

local abi = require("rproxy.abi")
local task = require("rproxy.task")

local C, H = abi.C, abi.H

local M = {}

--- Wait for a job and free it.
--- yields: yes (not in setup, where it is done at once)
--- @param pointer cdata  struct rp_vm_job *, not NULL
--- @return number code, string out  the job's result
function M.wait(pointer)
    abi.gc(pointer, C.rp_abi_job_free)
    local code = C.rp_abi_job_result(H, pointer)
    while code == abi.AGAIN do
        task.wait("a thread of the pool", -1)
        code = C.rp_abi_job_result(H, pointer)
    end
    local out = abi.out()
    abi.gc(pointer, nil)
    C.rp_abi_job_free(pointer)
    return code, out
end

return M
