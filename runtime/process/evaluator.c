/* SPDX-License-Identifier: MIT
 *
 * evaluator: sources come through the channel, as descriptors that the reader opened.
 */
#include "process/evaluator.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "process/channel.h"
#include "script/host.h"

struct evaluator {
    int channel;
    rp_str found;
    struct rp_bundle *old; /* of the generation that serves, when only certificates are read anew */
    struct rp_plan_watched *watched; /* files of certificates; the bundle asks for each once */
    uint32_t watched_n, watched_room;
    struct rp_message m;
};

static void note(struct evaluator *v, rp_str path, uint64_t stamp)
{
    if (v->watched_n == RP_PLAN_WATCHED_MOST) return;
    if (v->watched_n == v->watched_room) {
        v->watched_room = v->watched_room ? v->watched_room * 2 : 64;
        v->watched = rp_realloc(v->watched, v->watched_room * sizeof *v->watched);
    }
    v->watched[v->watched_n++] = (struct rp_plan_watched){
        .path = rp_str_of(rp_strdup_n(path.ptr, path.len), path.len), .stamp = stamp};
}

/* The reader has opened it, or said why not. */
static rp_err take(struct evaluator *v, rp_str path, int fd, rp_err e, struct rp_buf *out)
{
    uint64_t stamp = rp_check_stamp_fd(fd); /* before the first byte is read */
    if (e == RP_OK) e = rp_os_read_all(fd, RP_CHECK_SOURCE_MOST, out);
    if (e == RP_OK && rp_check_is_list(path)) stamp = rp_check_stamp_list(rp_buf_str(out));
    if (rp_check_is_cert(path)) note(v, path, e == RP_OK ? stamp : 0);
    return e;
}

static rp_err fetch_old(struct evaluator *v, rp_str path, struct rp_buf *out)
{
    rp_str bytes;
    rp_err e = rp_bundle_read(v->old, path, &bytes);
    if (e == RP_OK) rp_buf_add(out, bytes);
    return e;
}

/* Came with the order, and is never taken from the generation before. */
static rp_err fetch_found(const struct evaluator *v, struct rp_buf *out)
{
    if (v->found.len == 0) return RP_E_NOT_FOUND;
    rp_buf_add(out, v->found);
    return RP_OK;
}

static rp_err fetch(void *arg, rp_str path, struct rp_buf *out)
{
    struct evaluator *v = arg;
    struct rp_message_head head = {.kind = RP_SAY_FETCH};
    if (rp_str_eq(path, RP_STR(RP_BUNDLE_FOUND))) return fetch_found(v, out);
    if (v->old && !rp_check_is_cert(path)) return fetch_old(v, path, out);
    if (path.len > RP_CHANNEL_TEXT_BYTES) return RP_E_TOO_BIG;
    rp_err e = rp_channel_send(v->channel, &head, path, NULL, 0);
    if (e == RP_OK) e = rp_channel_recv(v->channel, &v->m);
    if (e != RP_OK) return RP_E_OS;
    int fd = rp_channel_take(&v->m, 0);
    e = v->m.head.a ? -(rp_err)v->m.head.a : RP_OK;
    e = take(v, path, fd, e, out);
    rp_os_close(&fd);
    rp_channel_done(&v->m);
    return e;
}

RP_NORETURN static void answer(struct evaluator *v, uint32_t kind, rp_str text, int fd)
{
    struct rp_message_head head = {.kind = kind};
    rp_err e = rp_channel_send(v->channel, &head, text, &fd, fd >= 0);
    _exit(e == RP_OK ? 0 : 1);
}

RP_NORETURN static void send_result(struct evaluator *v, const struct rp_check_order *order,
                                    struct rp_bundle *bundle, const struct rp_conf *conf)
{
    struct rp_buf sources, description, flat;
    int fd = -1;
    rp_buf_init(&sources, RP_PLAN_BYTES_MOST);
    rp_buf_init(&description, RP_PLAN_BYTES_MOST);
    rp_buf_init(&flat, RP_PLAN_BYTES_MOST);
    rp_host_describe(conf, bundle, order->describe, &description);
    rp_err e = rp_bundle_save(bundle, &sources);
    if (e == RP_OK)
        rp_plan_save(conf, rp_buf_str(&sources), rp_buf_str(&description), v->watched, v->watched_n,
                     &flat);
    if (e == RP_OK && (sources.failed || flat.failed)) e = RP_E_TOO_BIG;
    if (e == RP_OK) e = rp_os_memfd_seal("rproxy-site", rp_buf_str(&flat), &fd);
    if (e != RP_OK) answer(v, RP_SAY_FAILED, rp_str_z(rp_err_text(e)), -1);
    answer(v, RP_SAY_RESULT, RP_STR_NONE, fd);
}

/* ---- the folder for buffered bodies ---------------------------------------------------------- */

static bool buffers(const struct rp_conf *c)
{
    for (uint32_t i = 0; i < c->routes_n; i++)
        if (c->routes[i]->buffer_request || c->routes[i]->buffer_response) return true;
    return false;
}

/* 0, or why no file can be made there. We have the workers' account, but where the site names another
 * one: then it is only asked whether there is a folder at all. */
static int spill_trouble(const struct rp_check_order *order, const struct rp_conf *c)
{
    char dir[PATH_MAX];
    struct stat st;
    rp_str name = c->spill_dir, user = c->user;
    if (name.len >= sizeof dir) return ENAMETOOLONG;
    memcpy(dir, name.ptr, name.len);
    dir[name.len] = 0;
    bool other = order->account && user.len && !rp_str_eq(user, rp_str_z(order->account->name));
    if (stat(dir, &st) != 0) return other && errno == EACCES ? 0 : errno;
    if (!S_ISDIR(st.st_mode)) return ENOTDIR;
    return !other && access(dir, W_OK | X_OK) != 0 ? errno : 0;
}

/* Found now, not by the first large body. */
static rp_err check_spill(const struct rp_check_order *order, const struct rp_conf *c,
                          struct rp_buf *error)
{
    int os = buffers(c) ? spill_trouble(order, c) : 0;
    if (os == 0) return RP_OK;
    rp_buf_addf(error, "%s: spill.dir: %.*s: %s; workers keep buffered bodies there", order->site,
                RP_STR_ARG(c->spill_dir), strerror(os));
    return RP_E_INVALID;
}

void rp_evaluate(const struct rp_check_order *order, int reader, int channel)
{
    struct evaluator *v = rp_alloc(sizeof *v);
    v->channel = channel;
    v->found = order->found;
    rp_os_reset_signals();
    rp_os_raise_stack();
    if (order->account && rp_os_become(order->account) != RP_OK)
        answer(v, RP_SAY_FAILED, RP_STR("cannot become the unprivileged user"), -1);
    if (!rp_os_die_with(reader, SIGKILL)) _exit(1);
    rp_log_set_sink((struct rp_log_sink){0}); /* stderr */

    struct rp_bundle *bundle = rp_bundle_new(rp_str_z(order->site), fetch, v);
    struct rp_conf *conf = NULL;
    struct rp_buf error;
    rp_bundle_set_overrides(bundle, order->overrides);
    if (order->sources.len && rp_bundle_load(order->sources, &v->old) != RP_OK)
        answer(v, RP_SAY_FAILED, RP_STR("the sources that serve cannot be read"), -1);
    rp_buf_init(&error, RP_CHECK_ERROR_MOST);
    rp_err e = rp_host_build(bundle, 1, &conf, &error);
    if (e == RP_OK) e = check_spill(order, conf, &error);
    if (e != RP_OK) {
        rp_str text = error.len ? rp_buf_str(&error) : rp_str_z(rp_err_text(e));
        answer(v, RP_SAY_FAILED, text, -1);
    }
    send_result(v, order, bundle, conf);
}
