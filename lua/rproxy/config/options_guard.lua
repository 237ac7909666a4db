-- SPDX-License-Identifier: MIT
--
-- options_guard: the rows of circuits (of upstreams and routes), outliers and limits; options.lua
-- says what a row is.

local M = {}

local MS, THOUSANDTHS = 1000, 1000

--- @param of string  whose circuit it is
function M.circuit(of)
    return {
        { name = "circuit", type = "object", optional = true, doc = "Refuse requests for a while "
            .. "(503, `upstream_circuit_open`) when too many of " .. of .. " fail or are slow; "
            .. "`{}` for the defaults. See Resilience in the guide." },
        { name = "circuit.errors", type = "number", default = 0.5, min = 0, max = 1,
            conf = "circuit_errors", scale = THOUSANDTHS,
            doc = "It opens when this share of the attempts fails: no answer, or a 5xx. "
                .. "0: never." },
        { name = "circuit.slow", type = "duration", default = 0, conf = "circuit_slow_ms",
            scale = MS, doc = "It opens when the `quantile` of the time to a response head is "
            .. "longer than this; 0: never." },
        { name = "circuit.quantile", type = "number", default = 0.9, min = 0, max = 0.999,
            conf = "circuit_quantile", scale = THOUSANDTHS, doc = "See circuit.slow." },
        { name = "circuit.min", type = "integer", default = 20, min = 1, max = 2 ^ 32 - 1,
            conf = "circuit_least", doc = "Attempts within the window before it may open." },
        { name = "circuit.within", type = "duration", default = "10s", min = 0.01,
            conf = "circuit_within_ms", scale = MS, doc = "The window." },
        { name = "circuit.open", type = "duration", default = "5s", min = 0.001,
            conf = "circuit_open_ms", scale = MS, doc = "How long it is open; twice as long when "
            .. "it opens again soon after, and up to a tenth more by chance." },
        { name = "circuit.open_max", type = "duration", default = "60s", min = 0.001,
            conf = "circuit_open_max_ms", scale = MS, doc = "The longest time." },
        { name = "circuit.probes", type = "integer", default = 3, min = 1, max = 15,
            conf = "circuit_probes", doc = "Requests that then pass, of all workers together: when "
            .. "all of them do well it closes, when one does not it opens again." },
    }
end

M.upstream = {
    { name = "circuit.fallback", type = "string",
        doc = "Upstream that gets the requests while the circuit is open." },
    { name = "max_requests", type = "integer", default = 0, min = 0, max = 2 ^ 32 - 1,
        conf = "requests_all", doc = "Most requests at once to all peers, of all workers, never "
            .. "one more; others wait in the `queue` or are answered 503. 0: no limit." },
    { name = "measure", type = "boolean", default = false, conf = "measure",
        doc = "Keep the latencies of an only peer, too, for `rproxy upstreams`; those of several, "
            .. "and with a circuit, outliers or concurrency, are always kept." },

    { name = "outlier", type = "object", optional = true, doc = "Let peers rest that are unlike "
        .. "the others, beside those that fail max_fails times in a row; `{}` for the defaults. "
        .. "fail_rest, fail_rest_max and max_rest hold for them, too." },
    { name = "outlier.interval", type = "duration", default = "10s", min = 0.1,
        conf = "outlier_every_ms", scale = MS, doc = "Between two looks, of one process for all "
            .. "workers; whole seconds, as workers look once a second." },
    { name = "outlier.min", type = "integer", default = 100, min = 1, max = 2 ^ 32 - 1,
        conf = "outlier_least", doc = "Attempts at a peer within an interval before it is "
            .. "judged." },
    { name = "outlier.peers", type = "integer", default = 3, min = 1, max = 2 ^ 32 - 1,
        conf = "outlier_peers", doc = "... and so many peers that have them." },
    { name = "outlier.stdev", type = "number", default = 1.9, min = 0, max = 100,
        conf = "outlier_stdev", scale = THOUSANDTHS, doc = "A peer rests whose success rate is "
            .. "below the mean of all by so many standard deviations; among fewer than five peers "
            .. "1.9 is never reached. 0: not asked." },
    { name = "outlier.failures", type = "number", default = 0.85, min = 0, max = 1,
        conf = "outlier_failures", scale = THOUSANDTHS, doc = "A peer rests when this share of the "
            .. "attempts at it fails: no answer, or a 5xx. 0: not asked." },
    { name = "outlier.factor", type = "number", default = 0, min = 0, max = 1000,
        conf = "outlier_factor", scale = THOUSANDTHS, doc = "A peer rests whose `quantile` of "
            .. "latency, over the last minute, is so many times the median of the peers'. 0: not "
            .. "asked." },
    { name = "outlier.quantile", type = "number", default = 0.9, min = 0, max = 0.999,
        conf = "outlier_quantile", scale = THOUSANDTHS, doc = "See outlier.factor." },
    { name = "outlier.slow", type = "duration", default = "10ms", conf = "outlier_slow_ms",
        scale = MS, doc = "... and is at least this." },
    { name = "outlier.enforce", type = "boolean", default = true, conf = "outlier_enforce",
        doc = "false: who would rest is only logged and counted." },

    { name = "concurrency", type = "object", optional = true, doc = "Find out how many requests "
        .. "at once the upstream can serve, by how long they take, and let no more through: they "
        .. "wait in the `queue` or are answered 503; `{}` for the defaults." },
    { name = "concurrency.min", type = "integer", default = 3, min = 1, max = 2 ^ 20,
        conf = "limit_least", doc = "The least limit; also while the calm latency is measured." },
    { name = "concurrency.max", type = "integer", default = 1000, min = 1, max = 2 ^ 20,
        conf = "limit_most", doc = "The highest." },
    { name = "concurrency.start", type = "integer", default = 20, min = 1, max = 2 ^ 20,
        conf = "limit_start", doc = "The first." },
    { name = "concurrency.quantile", type = "number", default = 0.9, min = 0, max = 0.999,
        conf = "limit_quantile", scale = THOUSANDTHS, doc = "Which latency is looked at." },
    { name = "concurrency.buffer", type = "number", default = 0.25, min = 0, max = 10,
        conf = "limit_buffer", scale = THOUSANDTHS,
        doc = "By what share it may be longer than the calm one before the limit shrinks." },
    { name = "concurrency.interval", type = "duration", default = "100ms", min = 0.01,
        conf = "limit_every_ms", scale = MS, doc = "Between two changes of the limit." },
    { name = "concurrency.measure", type = "duration", default = "60s",
        conf = "limit_measure_ms", scale = MS, doc = "Between two measurings of the calm latency, "
            .. "with `min` requests at once; 0: only the first time." },
    { name = "concurrency.samples", type = "integer", default = 50, min = 1, max = 100000,
        conf = "limit_measure_n", doc = "Requests of a measuring." },
}

return M
