/* SPDX-License-Identifier: MIT
 *
 * abi_explain: why a live request goes where it goes, as JSON.
 */
#include "proxy/request.h"
#include "proxy/route_explain.h"
#include "script/vm.h"

rp_err rp_abi_route_explain(struct rp_host_face *f, const struct rp_req *r)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_route_story story;
    if (!r->route) return RP_E_PHASE;
    rp_arena_reset(&h->scratch);
    rp_err e = rp_route_explain(r->conf, &r->x.head, &r->client, &h->scratch, &story);
    if (e != RP_OK) return e;
    rp_buf_clear(&h->text);
    rp_route_story_json(&story, &h->text);
    f->out = rp_buf_str(&h->text);
    return h->text.failed ? RP_E_CAP : RP_OK;
}
