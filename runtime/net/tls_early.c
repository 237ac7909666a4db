/* SPDX-License-Identifier: MIT
 *
 * tls_early: early data of clients (0-RTT, RFC 8446 §2.3, §4.2.10, §8). What comes in it is kept
 * here, 16 KB at most, and is read like anything else while the handshake goes on behind it;
 * answers go out under the keys that the client has by then. Whoever reads it asks rp_tls_is_early,
 * and knows that anybody may have sent it.
 *
 * OpenSSL takes early data whose ticket is as old as the client says, within 10 s, for the same
 * name and protocol. Its own way of finding replays is a cache of sessions in one process; ours is
 * to let a ticket bring early data once, in all workers (tickets->is_first, RFC 8446 §8.1), and
 * never without somebody to ask.
 */
#include "base/mem.h"
#include "net/tls_in.h"

enum { SECRET_MOST = 64 }; /* of a ticket of TLS 1.3: as long as a digest */

/* ---- may it be? ------------------------------------------------------------------------------ */

/* A ticket by its secret, which no other has; the wire shows neither. */
static bool is_first(const struct rp_tls_tickets *all, const SSL_SESSION *session)
{
    unsigned char secret[SECRET_MOST];
    uint8_t id[32];
    if (SSL_SESSION_get_master_key(session, NULL, 0) > sizeof secret) return false;
    size_t n = SSL_SESSION_get_master_key(session, secret, sizeof secret);
    rp_tls_digest(rp_str_of((const char *)secret, n), id);
    explicit_bzero(secret, sizeof secret);
    return n > 0 && all->is_first(all->arg, id);
}

/* Asked last, when OpenSSL itself has nothing against it. */
static int on_ask(SSL *ssl, void *arg)
{
    const struct rp_tls *t = SSL_get_app_data(ssl);
    (void)arg;
    const SSL_SESSION *session = SSL_get_session(ssl);
    if (!t || !t->early || !t->tickets || !t->tickets->is_first || !session) return 0;
    /* OpenSSL would take it, and then end the connection at its first byte. A client may have it
     * from a listener that takes none: OpenSSL's forgets to forget what an older ticket said. */
    if (SSL_SESSION_get_max_early_data(session) == 0) return 0;
    return is_first(t->tickets, session);
}

bool rp_tls_allow_early(SSL_CTX *ctx)
{
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_ANTI_REPLAY);
    SSL_CTX_set_allow_early_data_cb(ctx, on_ask, NULL);
    return SSL_CTX_set_max_early_data(ctx, RP_TLS_EARLY_MOST) &&
           SSL_CTX_set_recv_max_early_data(ctx, RP_TLS_EARLY_MOST);
}

/* ---- life ------------------------------------------------------------------------------------ */

void rp_tls_early_new(struct rp_tls *t)
{
    struct rp_tls_early *y = rp_alloc(sizeof *y);
    rp_buf_init(&y->held, RP_TLS_EARLY_MOST);
    y->comes = true;
    t->early = y;
}

void rp_tls_early_free(struct rp_tls *t)
{
    rp_tls_early_tell(t);
    if (!t->early) return;
    rp_buf_fini(&t->early->held);
    rp_free(t->early);
    t->early = NULL;
}

bool rp_tls_is_early(const struct rp_tls *t)
{
    return t->early && t->early->came && !t->shaken;
}

void rp_tls_on_shaken(struct rp_tls *t, void (*fn)(void *arg), void *arg)
{
    if (!t->early) return;
    t->early->over = fn;
    t->early->over_arg = arg;
}

void *rp_tls_shaken_arg(const struct rp_tls *t)
{
    return t->early && t->early->over ? t->early->over_arg : NULL;
}

void rp_tls_early_tell(struct rp_tls *t)
{
    struct rp_tls_early *y = t->early;
    if (!y || !y->over) return;
    void (*fn)(void *arg) = y->over;
    y->over = NULL;
    fn(y->over_arg);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

bool rp_tls_early_take(struct rp_tls *t)
{
    struct rp_tls_early *y = t->early;
    char *plain = rp_tls_room_of(t->loop)->plain;
    while (y->comes && !y->held.failed) {
        size_t got = 0;
        int r = SSL_read_early_data(t->ssl, plain, RP_TLS_RECORD, &got);
        if (r == SSL_READ_EARLY_DATA_ERROR) return false;
        if (r == SSL_READ_EARLY_DATA_FINISH) y->comes = false;
        else rp_buf_add(&y->held, rp_str_of(plain, got));
        y->came |= got > 0;
    }
    return !y->held.failed; /* OpenSSL counts what it lets through: it is never more */
}

size_t rp_tls_early_give(struct rp_tls *t, char *buf, size_t n, bool keep)
{
    struct rp_tls_early *y = t->early;
    n = RP_MIN(n, y->held.len);
    if (n) memcpy(buf, y->held.ptr, n);
    if (n && !keep) rp_buf_consume(&y->held, n);
    if (y->held.len == 0 && t->shaken) rp_tls_early_free(t);
    return n;
}
