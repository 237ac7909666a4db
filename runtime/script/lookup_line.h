/* SPDX-License-Identifier: MIT
 *
 * lookup_line: one line of the file of a set.
 */
#ifndef RP_SCRIPT_LOOKUP_LINE_H
#define RP_SCRIPT_LOOKUP_LINE_H

#include "shm/lookup.h"

/* Add what a line (without its end) says; an empty line and a comment say nothing.
 *   NETS      "10.0.0.0/8", then a value: what follows the space. Comments begin with # or ;
 *   TEXTS     the text, up to a tab; the value behind it. Lines that begin with # are comments
 *   DOMAINS   as NETS; "*.x" and ".x" are "x"
 *   LINES     the line. Lines that begin with # are comments
 * ret   RP_OK; RP_E_INVALID: none of these; RP_E_CAP: the set is full */
RP_MUST rp_err rp_lookup_line_add(struct rp_lookup_maker *m, enum rp_lookup_type type, rp_str line);

#endif
