/* SPDX-License-Identifier: MIT
 *
 * handover: the text in which a master tells another version of itself what there is: listening
 * sockets, shared memory, workers (upgrade.h). Two versions read it, so it is a text of records,
 * one a line, that either may have more of than the other knows:
 *
 *   KEY NUMBER NUMBER .. [=TEXT in hexadecimal digits]
 *
 * Whoever reads skips keys that it does not know, takes numbers that are missing as 0, and looks
 * at no more numbers than it knows. What must not be skipped gets another RP_HANDOVER_FORMAT,
 * which the other side refuses before anything was touched. Pure.
 */
#ifndef RP_PROCESS_HANDOVER_H
#define RP_PROCESS_HANDOVER_H

#include "base/buf.h"

enum {
    RP_HANDOVER_FORMAT = 1,
    RP_HANDOVER_NUMBERS = 12,          /* of a record, at most */
    RP_HANDOVER_TEXT_MOST = 64 * 1024, /* of a record, decoded */
    RP_HANDOVER_BYTES_MOST = 64 << 20, /* of the whole */
    RP_HANDOVER_FDS_MOST = 1 << 20,
    RP_HANDOVER_NO_FD = 0xffffffff,
};

/* ---- writing ------------------------------------------------------------------------------- */

struct rp_handover_out {
    struct rp_buf text;
    int *fds; /* that it names, borrowed; in the order of their first mention */
    uint32_t fds_n, fds_room;
    bool indexed; /* it names them by their place in that order, not by number */
};

/* indexed: who reads gets the descriptors as others. */
void rp_handover_begin(struct rp_handover_out *o, bool indexed);
void rp_handover_end(struct rp_handover_out *o);
/* A number that stands for the descriptor; of -1, RP_HANDOVER_NO_FD. */
uint64_t rp_handover_fd(struct rp_handover_out *o, int fd);
/* One record; text may be NONE. */
void rp_handover_put(struct rp_handover_out *o, const char *key, const uint64_t *numbers, size_t n,
                     rp_str text);
#define RP_HANDOVER_PUT(o, key, text, ...)                                                         \
    rp_handover_put(o, key, (const uint64_t[]){__VA_ARGS__},                                       \
                    sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), text)

/* ---- reading ------------------------------------------------------------------------------- */

struct rp_handover_record {
    rp_str key;
    uint64_t n[RP_HANDOVER_NUMBERS]; /* those that are missing are 0 */
    rp_str text;                     /* until the next record is read */
};

struct rp_handover_in {
    rp_str rest;
    const int *fds; /* of an indexed one; NULL: numbers are descriptors */
    uint32_t fds_n;
    struct rp_buf text;
    bool bad; /* a line was no record: nothing of the whole can be relied on */
};

/* text: borrowed; so are fds, NULL when it is not indexed. */
void rp_handover_open(struct rp_handover_in *in, rp_str text, const int *fds, uint32_t fds_n);
void rp_handover_close(struct rp_handover_in *in);
/* False at the end, and when the line is malformed. */
bool rp_handover_next(struct rp_handover_in *in, struct rp_handover_record *r);
bool rp_handover_is(const struct rp_handover_record *r, const char *key);
/* The descriptor that a number of a record stands for; -1: none. */
int rp_handover_fd_of(const struct rp_handover_in *in, uint64_t number);

#endif
