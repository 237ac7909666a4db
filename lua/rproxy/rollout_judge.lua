-- SPDX-License-Identifier: MIT
--
-- rollout_judge: is a canary worse than its base? Pure: numbers in, a verdict out.
--
-- Both questions are asked again and again while a step lasts, so they want more than a difference:
-- that it is hardly by chance. Of failures: the canary's share less what it may be (the base's
-- share times max_error_ratio, at least error_floor), against the deviation of that difference. Of
-- times: the lower end of the confidence interval of the canary's quantile against the upper end of
-- the base's (an interval of order statistics, which needs no shape of the distribution).

local M = {}

--- Fewer requests of the canary than this prove nothing, whatever they say.
M.LEAST = 20

-- Coefficients of P. J. Acklam's rational approximation of the normal quantile (relative error
-- below 1.2e-9).
local C = { -7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838, -2.549732539343734,
    4.374664141464968, 2.938163982698783 }
local D = { 7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996, 3.754408661907416 }
local A = { -3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02,
    1.383577518672690e+02, -3.066479806614716e+01, 2.506628277459239 }
local B = { -5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
    6.680131188771972e+01, -1.328068155288572e+01 }
local TAIL = 0.02425

--- How many deviations a normal variable stays below with this probability, 0.5 to 1.
--- @return number
function M.deviations(p)
    if p <= 1 - TAIL then
        local q = p - 0.5
        local r = q * q
        return (((((A[1] * r + A[2]) * r + A[3]) * r + A[4]) * r + A[5]) * r + A[6]) * q
            / (((((B[1] * r + B[2]) * r + B[3]) * r + B[4]) * r + B[5]) * r + 1)
    end
    local q = math.sqrt(-2 * math.log(1 - p))
    return -(((((C[1] * q + C[2]) * q + C[3]) * q + C[4]) * q + C[5]) * q + C[6])
        / ((((D[1] * q + D[2]) * q + D[3]) * q + D[4]) * q + 1)
end

-- The share, and the variance of its estimate; one failure and one success more (Laplace) keep a
-- few requests without a failure, or without a success, from being sure of anything.
local function share_of(failures, requests)
    local n = requests + 2
    local p = (failures + 1) / n
    return failures / requests, p * (1 - p) / n
end

--- @param canary table  requests, failures
--- @param base table  the same
--- @param rules table  max_error_ratio, error_floor, confidence
--- @return string|nil why  it fails more
function M.fails_more(canary, base, rules)
    if canary.requests < M.LEAST then return nil end
    local share, variance = share_of(canary.failures, canary.requests)
    local other, other_variance = 0, 0
    if base.requests > 0 then other, other_variance = share_of(base.failures, base.requests) end
    local ratio = rules.max_error_ratio
    local allowed = other * ratio
    if allowed <= rules.error_floor then
        allowed, other_variance = rules.error_floor, 0
    end
    local deviation = math.sqrt(variance + ratio * ratio * other_variance)
    if share - allowed <= M.deviations(rules.confidence) * deviation then return nil end
    return ("%.2f%% of %d requests failed, %.2f%% of %d of the base"):format(share * 100,
        canary.requests, other * 100, base.requests)
end

-- The quantiles between which the true one is, with that confidence.
local function interval(q, n, z)
    local spread = z * math.sqrt(q * (1 - q) / n)
    return math.max(q - spread, 0), math.min(q + spread, 1)
end

--- @param canary table  timed (how many); time(quantile) -> seconds
--- @param base table  the same
--- @param rules table  max_latency_ratio, latency_quantile, latency_floor, confidence
--- @return string|nil why  it is slower
function M.is_slower(canary, base, rules)
    if rules.max_latency_ratio == 0 then return nil end
    if canary.timed < M.LEAST or base.timed < M.LEAST then return nil end
    local q, z = rules.latency_quantile, M.deviations(rules.confidence)
    local low = interval(q, canary.timed, z)
    local _, high = interval(q, base.timed, z)
    local slow, usual = canary.time(low), base.time(high)
    if slow <= rules.latency_floor or slow <= usual * rules.max_latency_ratio then return nil end
    return ("p%g is %.1f ms, %.1f ms of the base"):format(q * 100, canary.time(q) * 1000,
        base.time(q) * 1000)
end

--- What is to be done.
--- @param step table  age (seconds), canary, base (as above)
--- @param rules table  also every, min_requests
--- @return string|nil word  "rollback", "promote"
--- @return string|nil why
function M.judge(step, rules)
    local why = M.fails_more(step.canary, step.base, rules)
        or M.is_slower(step.canary, step.base, rules)
    if why then return "rollback", why end
    local seen = math.min(step.canary.requests, step.base.requests)
    if step.age >= rules.every and seen >= rules.min_requests then return "promote" end
end

return M
