/* SPDX-License-Identifier: MIT
 *
 * logs: see logs.h.
 */
#include "process/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "process/os.h"

static int open_file(rp_str file, const char *site)
{
    char path[2 * RP_PLAN_TEXT_MOST];
    if (rp_str_eq(file, RP_STR("stdout"))) return rp_os_dup(STDOUT_FILENO);
    if (rp_str_eq(file, RP_STR("stderr"))) return rp_os_dup(STDERR_FILENO);
    size_t folder = file.ptr[0] == '/' ? 0 : (size_t)(strrchr(site, '/') - site) + 1;
    int n = snprintf(path, sizeof path, "%.*s%.*s", (int)folder, site, RP_STR_ARG(file));
    RP_CHECK(n < (int)sizeof path);
    /* NONBLOCK: opening a named pipe that nobody reads must fail, not wait. */
    return RP_SYS(
        open, open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640));
}

rp_err rp_logs_open(struct rp_logs *l, const struct rp_plan *plan, const char *site,
                    struct rp_buf *error)
{
    *l = (struct rp_logs){.fds = rp_alloc(sizeof *l->fds * plan->files_n)};
    for (uint32_t i = 0; i < plan->files_n; i++) {
        int fd = open_file(plan->files[i], site);
        if (fd < 0) {
            rp_buf_addf(error, "cannot open the log file %.*s: %s", RP_STR_ARG(plan->files[i]),
                        strerror(errno));
            rp_logs_close(l);
            return RP_E_OS;
        }
        l->fds[l->n++] = fd;
    }
    return RP_OK;
}

void rp_logs_close(struct rp_logs *l)
{
    for (uint32_t i = 0; i < l->n; i++) rp_os_close(&l->fds[i]);
    rp_free(l->fds);
    *l = (struct rp_logs){0};
}
