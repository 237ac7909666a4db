/* SPDX-License-Identifier: MIT
 *
 * gates: see gates.h.
 */
#include "process/gates.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proxy/circuit.h"
#include "proxy/limit.h"

static int by_name(const void *a, const void *b)
{
    const struct rp_gate_report *left = a, *right = b;
    if (left->kind != right->kind) return left->kind < right->kind ? -1 : 1;
    return strcmp(left->name, right->name);
}

/* What a worker does with the word when a request comes: an open circuit whose time is over lets a
 * probe pass. */
static const char *state_of(const struct rp_circuit_state *s, rp_ms now)
{
    if (s->state == RP_CIRCUIT_OPEN) return s->at > now ? "open" : "half-open";
    return s->state == RP_CIRCUIT_HALF ? "half-open" : "closed";
}

static void put_number(uint64_t value, struct rp_buf *out)
{
    rp_buf_addf(out, "\t%llu", (unsigned long long)value);
}

static void put_circuit(const struct rp_gate_report *g, rp_ms now, struct rp_buf *out)
{
    struct rp_circuit_state s = rp_circuit_read(g->words[RP_GATE_CIRCUIT]);
    if (!(g->words[RP_GATE_SETTINGS] & RP_GATE_HAS_CIRCUIT)) {
        rp_buf_add_z(out, "\t-\t-\t-\t-\t-\t-");
        return;
    }
    bool open = s.state == RP_CIRCUIT_OPEN && s.at > now;
    rp_buf_addf(out, "\t%s", state_of(&s, now));
    put_number(open ? s.at - now : 0, out);
    put_number(g->sums.all, out);
    put_number(g->sums.bad, out);
    put_number(g->sums.slow, out);
    put_number(g->words[RP_GATE_OPENED], out);
}

static void put_limit(const struct rp_gate_report *g, struct rp_buf *out)
{
    if (g->words[RP_GATE_MOST]) put_number(g->words[RP_GATE_MOST], out);
    else rp_buf_add_z(out, "\t-");
    if (!(g->words[RP_GATE_SETTINGS] & RP_GATE_HAS_LIMIT)) {
        rp_buf_add_z(out, "\t-\t-");
        return;
    }
    put_number(g->words[RP_GATE_LIMIT] & RP_LIMIT_MOST, out);
    put_number(g->words[RP_GATE_RTT], out);
}

static void put_gate(const struct rp_gate_report *g, rp_ms now, struct rp_buf *out)
{
    rp_buf_add_z(out, g->kind == RP_GATE_ROUTE ? "route\t" : "upstream\t");
    rp_buf_add_escaped(out, rp_str_z(g->name));
    put_circuit(g, now, out);
    put_number(g->words[RP_GATE_REFUSED], out);
    put_number(g->in_flight, out);
    put_limit(g, out);
    rp_buf_add_ch(out, '\n');
}

void rp_gates_table(const struct rp_roster *r, rp_ms now, struct rp_buf *out)
{
    struct rp_gate_report *list = NULL, one;
    uint32_t n = 0, room = 0;
    for (uint32_t at = 0; rp_roster_next_gate(r, &at, now, &one);) {
        if (n == room) {
            room = room ? room * 2 : 16;
            list = rp_realloc(list, room * sizeof *list);
        }
        list[n++] = one;
    }
    if (n) qsort(list, n, sizeof *list, by_name);
    rp_buf_add_z(out, "kind\tname\tcircuit\topen_ms\tattempts\tbad\tslow\topened\trefused"
                      "\tin_flight\tmax_requests\tlimit\tcalm_us\n");
    for (uint32_t i = 0; i < n; i++) put_gate(&list[i], now, out);
    rp_free(list);
}
