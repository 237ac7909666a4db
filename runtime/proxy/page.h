/* SPDX-License-Identifier: MIT
 *
 * page: what people and programs get to see when a request fails here: a page of the configuration,
 * or a small standard one in the form that the client asked for. Pure.
 */
#ifndef RP_PROXY_PAGE_H
#define RP_PROXY_PAGE_H

#include "base/buf.h"
#include "http/msg.h"
#include "proxy/conf.h"

enum rp_page_form { RP_PAGE_HTML, RP_PAGE_JSON, RP_PAGE_TEXT };

/* What is said on a page. Nothing here tells a version, an address or a name of the inside. */
struct rp_page_facts {
    uint16_t status;
    rp_str error;  /* the status in words: "Not Found" */
    rp_str reason; /* err.tbl's word: "no_route" */
    rp_str request_id;
};

/* The form that a request's Accept fields want most (RFC 9110 §12.5.1): by weight, then by how
 * exactly it is named, then HTML before JSON before text. Text when it wants none of them. */
enum rp_page_form rp_page_choose(const struct rp_msg *head);
rp_str rp_page_type(enum rp_page_form form); /* its Content-Type */
/* The page for a status on a route (NULL: none was found yet); NULL: the standard one. */
const struct rp_conf_page *rp_page_find(const struct rp_conf *c, const struct rp_route *route,
                                        uint16_t status);
/* Append the standard page. */
void rp_page_put(struct rp_buf *out, enum rp_page_form form, const struct rp_page_facts *facts);
/* Append a page of the configuration: {status}, {error}, {reason} and {request_id} are filled in,
 * escaped for HTML; all other braces stand for themselves. */
void rp_page_expand(struct rp_buf *out, rp_str body, const struct rp_page_facts *facts);

#endif
