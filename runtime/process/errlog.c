/* SPDX-License-Identifier: MIT
 *
 * errlog: see errlog.h. A line that cannot be written is lost: serving goes on.
 */
#include "process/errlog.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fault.h"
#include "process/os.h"

static void write_line(void *arg, enum rp_log_level level, rp_str line)
{
    const struct rp_errlog *log = arg;
    (void)level;
    rp_ignore(
        rp_os_write_all(log->fd >= 0 ? log->fd : STDERR_FILENO, line)); /* nowhere to complain */
}

void rp_errlog_open(struct rp_errlog *log)
{
    log->fd = -1;
    rp_log_set_sink((struct rp_log_sink){.write = write_line, .arg = log});
}

/* Pool threads may be logging: the number stays valid, the file behind it changes. */
void rp_errlog_use(struct rp_errlog *log, int fd)
{
    if (fd < 0) {
        rp_os_close(&log->fd);
    } else if (log->fd < 0) {
        log->fd = rp_os_dup(fd);
    } else {
        (void)RP_SYS(dup, dup3(fd, log->fd, O_CLOEXEC)); /* on failure the old file goes on */
    }
}

void rp_errlog_close(struct rp_errlog *log)
{
    rp_log_set_sink((struct rp_log_sink){0});
    rp_os_close(&log->fd);
}
