/* SPDX-License-Identifier: MIT
 *
 * command: see command.h. The master's side is control.c.
 */
#include "process/command.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "process/boot.h"
#include "process/channel.h"
#include "process/control.h"
#include "process/os.h"
#include "process/pidfile.h"

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    RELOAD_LIMIT_MS = 300000, /* a reload may wait for the one before it */
    ASK_LIMIT_MS = 10000,
    GONE_EXTRA_MS = 2000, /* for the master itself, after its workers */
    LOOK_MS = 20,
    TEXT_MOST = 1 << 28,
};

const char *rp_command_find(const char *word)
{
    static const char *const commands[] = {"reload", "stop",    "quit",   "reopen",
                                           "status", "metrics", "upgrade"};
    for (size_t i = 0; i < RP_COUNT(commands); i++)
        if (strcmp(word, commands[i]) == 0) return commands[i];
    return NULL;
}

static int complain(int status, rp_str text)
{
    struct rp_run run = {.complaints = STDERR_FILENO};
    rp_boot_complain(&run, text);
    return status;
}

static void print_line(rp_str text)
{
    rp_ignore(rp_os_write_all(STDOUT_FILENO, text)); /* nothing to do about a closed stdout */
    if (!rp_str_ends(text, RP_STR("\n")))
        rp_ignore(rp_os_write_all(STDOUT_FILENO, RP_STR("\n"))); /* the same */
}

static int not_running(const char *site, const struct rp_pidfile *p, int stale)
{
    struct rp_buf text;
    rp_buf_init(&text, TEXT_MOST);
    rp_buf_addf(&text, "not running: %s", site);
    if (stale) rp_buf_addf(&text, " (stale pid file %s names process %d)", p->path, stale);
    else rp_buf_addf(&text, " (no pid file %s)", p->path);
    (void)complain(EXIT_FAILED, rp_buf_str(&text));
    rp_buf_fini(&text);
    return EXIT_FAILED;
}

static bool is_gone(const struct rp_pidfile *p, int pid)
{
    int stale;
    if (rp_pidfile_find(p, &stale) == pid) return false;
    char state = rp_os_process_state(pid);
    return state == '?' || state == 'Z' || state == 'X';
}

static int wait_gone(const struct rp_pidfile *p, int pid, rp_str answer)
{
    char text[96];
    uint64_t patience;
    if (rp_str_u64(answer, &patience) != RP_OK) patience = ASK_LIMIT_MS;
    rp_ms until = rp_os_now_ms() + patience + GONE_EXTRA_MS;
    while (!is_gone(p, pid)) {
        struct timespec nap = {.tv_nsec = LOOK_MS * 1000000};
        if (rp_os_now_ms() > until) {
            snprintf(text, sizeof text, "the master still runs: pid %d", pid);
            return complain(EXIT_FAILED, rp_str_z(text));
        }
        (void)nanosleep(&nap, NULL); /* woken early: one look more */
    }
    snprintf(text, sizeof text, "stopped: pid %d", pid);
    print_line(rp_str_z(text));
    return EXIT_OK;
}

static bool is_ending(const char *command)
{
    return strcmp(command, "stop") == 0 || strcmp(command, "quit") == 0;
}

static int tell_failure(const char *command, const struct rp_pidfile *p, int pid, rp_err e)
{
    struct rp_buf text;
    rp_buf_init(&text, TEXT_MOST);
    rp_buf_addf(&text, "%s: the master (pid %d) did not answer on %s: %s", command, pid, p->sock,
                rp_err_text(e));
    (void)complain(EXIT_FAILED, rp_buf_str(&text));
    rp_buf_fini(&text);
    return EXIT_FAILED;
}

/* The master does not know where the command was called. */
static rp_err say_binary(const char *binary, struct rp_buf *out)
{
    char cwd[PATH_MAX] = "";
    bool absolute = binary[0] == '/';
    if (!absolute && !getcwd(cwd, sizeof cwd)) return RP_E_OS;
    rp_buf_addf(out, " %s%s%s", cwd, absolute ? "" : "/", binary);
    return RP_OK;
}

static rp_err say(const char *command, const char *binary, const struct rp_pidfile *p, int *status,
                  struct rp_buf *answer)
{
    struct rp_buf words;
    bool waits = strcmp(command, "reload") == 0 || strcmp(command, "upgrade") == 0;
    rp_buf_init(&words, RP_CHANNEL_TEXT_BYTES);
    rp_buf_add_z(&words, command);
    rp_err e = binary ? say_binary(binary, &words) : RP_OK;
    uint64_t limit = waits ? RELOAD_LIMIT_MS : ASK_LIMIT_MS;
    if (e == RP_OK) e = rp_control_ask(p->sock, rp_buf_str(&words), limit, status, answer);
    rp_buf_fini(&words);
    return e;
}

static int ask(const char *command, const char *binary, const struct rp_pidfile *p, int pid)
{
    struct rp_buf text;
    int status = EXIT_FAILED;
    rp_buf_init(&text, TEXT_MOST);
    rp_err e = say(command, binary, p, &status, &text);
    if (e != RP_OK && is_ending(command)) { /* without its socket it still hears signals */
        e = kill(pid, strcmp(command, "stop") == 0 ? SIGTERM : SIGQUIT) == 0 ? RP_OK : RP_E_OS;
        rp_buf_clear(&text);
    }
    if (e != RP_OK) status = tell_failure(command, p, pid, e);
    else if (is_ending(command)) status = wait_gone(p, pid, rp_buf_str(&text));
    else if (status == EXIT_OK) print_line(rp_buf_str(&text));
    else (void)complain(status, rp_buf_str(&text));
    rp_buf_fini(&text);
    return status;
}

int rp_command_run(const char *command, const char *binary, const char *site, const char *pid_path)
{
    struct rp_pidfile p;
    struct rp_buf error;
    int stale;
    rp_buf_init(&error, TEXT_MOST);
    if (rp_pidfile_locate(&p, site, pid_path, false, &error) != RP_OK) {
        (void)complain(EXIT_FAILED, rp_buf_str(&error));
        rp_buf_fini(&error);
        return EXIT_FAILED;
    }
    int pid = rp_pidfile_find(&p, &stale);
    return pid ? ask(command, binary, &p, pid) : not_running(site, &p, stale);
}
