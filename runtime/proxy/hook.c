/* SPDX-License-Identifier: MIT
 *
 * hook: names of the phases.
 */
#include "proxy/hook.h"

static const char *const NAMES[RP_PHASE_COUNT] = {
    [RP_PHASE_EARLY] = "early",
    [RP_PHASE_ACCESS] = "access",
    [RP_PHASE_REWRITE] = "rewrite",
    [RP_PHASE_CONTENT] = "content",
    [RP_PHASE_BALANCE] = "balance",
    [RP_PHASE_REQUEST_BODY] = "request_body",
    [RP_PHASE_HEADER_FILTER] = "header_filter",
    [RP_PHASE_BODY_FILTER] = "body_filter",
    [RP_PHASE_LOG] = "log",
};

const char *rp_phase_name(enum rp_phase p)
{
    return (unsigned)p < RP_PHASE_COUNT ? NAMES[p] : "none";
}
