/* SPDX-License-Identifier: MIT
 *
 * notify: tells systemd (sd_notify protocol) how we are when NOTIFY_SOCKET names its socket.
 */
#ifndef RP_PROCESS_NOTIFY_H
#define RP_PROCESS_NOTIFY_H

#include "base/str.h"

/* "READY=1", "STOPPING=1" ... ; no effect without NOTIFY_SOCKET. */
void rp_notify(const char *state);
/* RELOADING=1 with the time that systemd wants beside it. */
void rp_notify_reloading(void);

#endif
