-- SPDX-License-Identifier: MIT
--
-- chance: what is asked of counts that chance had a hand in.

local M = {}

--- Pearson's statistic of counts against weights.
function M.chi_square(taken, weights)
    local n, total, chi = 0, 0, 0
    for i, w in ipairs(weights) do n, total = n + taken[i], total + w end
    for i, w in ipairs(weights) do
        local expected = n * w / total
        chi = chi + (taken[i] - expected) ^ 2 / expected
    end
    return chi
end

return M
