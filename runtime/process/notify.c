/* SPDX-License-Identifier: MIT
 *
 * notify: one datagram per message (man sd_notify). A supervisor that does not listen is no failure.
 */
#include "process/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "process/os.h"

void rp_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof un.sun_path || (path[0] != '/' && path[0] != '@')) return;
    memcpy(un.sun_path, path, n);
    if (path[0] == '@') un.sun_path[0] = 0; /* abstract */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return;
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&un, len);
    rp_os_close(&fd);
}

void rp_notify_reloading(void)
{
    char text[64];
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)(rp_clock_mono_ns() / 1000));
    rp_notify(text);
}
