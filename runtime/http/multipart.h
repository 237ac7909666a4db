/* SPDX-License-Identifier: MIT
 *
 * multipart: bodies of type multipart/form-data (RFC 7578, RFC 2046 §5.1), piece by piece.
 *
 * Strict where programs read the same bytes differently, because what is checked here is then read
 * by another: no preamble, CRLF only, a delimiter is followed by CRLF or by "--" and the end, each
 * part has one Content-Disposition of type form-data with one name, and no `filename*` (RFC 7578
 * §4.2). Pure: no I/O, no clock.
 */
#ifndef RP_HTTP_MULTIPART_H
#define RP_HTTP_MULTIPART_H

#include "base/buf.h"

enum {
    RP_MULTIPART_BOUNDARY_MOST = 70, /* RFC 2046 §5.1.1 */
    RP_MULTIPART_HEAD_MOST = 8192,   /* bytes of a part's header */
    RP_MULTIPART_LINES_MOST = 16,
};

enum rp_multipart_event {
    RP_MULTIPART_PART, /* a part begins: name, filename, type */
    RP_MULTIPART_DATA, /* bytes of it: data */
    RP_MULTIPART_END,  /* it is whole */
    RP_MULTIPART_DONE, /* so is the body */
};

struct rp_multipart {
    struct rp_buf held; /* bytes that were not given out yet */
    size_t at;          /* in it: what follows is not looked at yet */
    uint8_t state;
    uint32_t parts_n, parts_most;
    char delimiter[4 + RP_MULTIPART_BOUNDARY_MOST]; /* CRLF "--" boundary */
    size_t delimiter_n;
    /* of the last event; valid until the next call */
    rp_str name, filename, type, data;
    bool has_filename;
};

/* The boundary of a Content-Type: RP_E_INVALID: not multipart/form-data, or no boundary that is
 * one. */
RP_MUST rp_err rp_multipart_boundary(rp_str content_type, char out[RP_MULTIPART_BOUNDARY_MOST],
                                     size_t *n);
/* parts_most: parts that a body may have. RP_E_INVALID: no boundary. */
RP_MUST rp_err rp_multipart_init(struct rp_multipart *m, rp_str boundary, uint32_t parts_most);
void rp_multipart_fini(struct rp_multipart *m);
/* More bytes. Take all events out before the next ones. RP_E_TOO_BIG: over 16 MB at once. */
RP_MUST rp_err rp_multipart_feed(struct rp_multipart *m, rp_str bytes);
/* The next event.
 * ret   RP_OK and *event; RP_AGAIN: more bytes are needed; RP_END: after DONE;
 *       RP_E_INVALID: not such a body; RP_E_CAP: too many parts; RP_E_TOO_BIG: a part's header */
RP_MUST rp_err rp_multipart_next(struct rp_multipart *m, enum rp_multipart_event *event);

#endif
