/* SPDX-License-Identifier: MIT
 *
 * tls_kernel: records sealed by the kernel (Linux, CONFIG_TLS). OpenSSL hands over the keys of what
 * we send, by ctrls of its socket BIO that ours answers like that one; from then on plain bytes go
 * to the socket, by any call, and what OpenSSL itself still sends (tickets, alerts) comes to our
 * BIO as plain text with a kind of record. Reading stays with OpenSSL, whole.
 *
 * The keys cannot be changed any more: kernels before 6.14 have no way to. A client that asks for
 * that (RFC 8446 §4.6.3: it must get it before the next bytes) loses its connection.
 */
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/fault.h"
#include "net/tls_in.h"

#ifndef SOL_TLS
#define SOL_TLS 282 /* linux/socket.h, which is not for programs */
#endif

enum {
    HANDSHAKE = 22, /* RFC 8446 §5.1 */
    DATA = 23,
    KEY_UPDATE = 24, /* §4 */
    FRAME_HEAD = 3,  /* in `left`: kind of record, length */
    FRAME_MOST = RP_TLS_RECORD,
};

bool rp_tls_is_kernel(const struct rp_tls *t)
{
    return t && t->kernel;
}

/* ---- starting -------------------------------------------------------------------------------- */

/* Bytes of the kernel's struct, with which OpenSSL's begins; 0: a cipher that we do not know. */
static socklen_t info_bytes(const struct tls_crypto_info *info)
{
    switch (info->cipher_type) {
    case TLS_CIPHER_AES_GCM_128: return sizeof(struct tls12_crypto_info_aes_gcm_128);
    case TLS_CIPHER_AES_GCM_256: return sizeof(struct tls12_crypto_info_aes_gcm_256);
    case TLS_CIPHER_CHACHA20_POLY1305: return sizeof(struct tls12_crypto_info_chacha20_poly1305);
    default: return 0;
    }
}

bool rp_tls_kernel_start(struct rp_tls *t, const void *info)
{
    static const char ulp[] = "tls";
    socklen_t n = info_bytes(info);
    /* Answers to early data are sealed by another call of OpenSSL's, which knows nothing of it. */
    bool early = SSL_get_early_data_status(t->ssl) == SSL_EARLY_DATA_ACCEPTED;
    if (n == 0 || early || t->shaken || !t->server) return false;
    /* What was sealed goes first: all of it, or the kernel would seal it once more. */
    if (rp_tls_push(t) != RP_OK || t->left) return false;
    if (RP_SYS(tls_ulp, setsockopt(t->fd, IPPROTO_TCP, TCP_ULP, ulp, sizeof ulp)) != 0)
        return false;
    if (RP_SYS(tls_tx, setsockopt(t->fd, SOL_TLS, TLS_TX, info, n)) != 0) return false;
    t->kernel = true;
    return true;
}

/* ---- what is no data ------------------------------------------------------------------------- */

static ssize_t send_record(const struct rp_tls *t, uint8_t kind, const char *p, size_t n)
{
    union {
        struct cmsghdr head; /* for its alignment */
        char bytes[CMSG_SPACE(1)];
    } room = {.bytes = {0}};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = room.bytes,
                         .msg_controllen = sizeof room.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_TLS;
    c->cmsg_type = TLS_SET_RECORD_TYPE;
    c->cmsg_len = CMSG_LEN(1);
    *CMSG_DATA(c) = kind;
    ssize_t r;
    do r = RP_SYS(send, sendmsg(t->fd, &msg, MSG_NOSIGNAL));
    while (r < 0 && errno == EINTR);
    return r;
}

/* RP_OK; RP_AGAIN: nothing of it is gone; RP_E_CLOSED. A part of a record is never seen: it is
 * small, and whoever could see it could not go on with the rest. */
static rp_err offer_record(struct rp_tls *t, uint8_t kind, const char *p, size_t n)
{
    ssize_t r = send_record(t, kind, p, n);
    if (r < 0 && errno == EAGAIN) return RP_AGAIN;
    if (r == (ssize_t)n) {
        *t->face.out_bytes += n;
        return RP_OK;
    }
    t->face.os = r < 0 ? errno : EIO;
    t->broken = true;
    return RP_E_CLOSED;
}

/* What waits is one frame behind the other, each whole. */
rp_err rp_tls_kernel_flush(struct rp_tls *t)
{
    while (t->left && !t->broken) {
        const uint8_t *p = (const uint8_t *)t->left + t->left_at;
        size_t n = (size_t)p[1] << 8 | p[2];
        rp_err e = offer_record(t, p[0], (const char *)p + FRAME_HEAD, n);
        if (e != RP_OK) return e;
        t->left_at += FRAME_HEAD + (uint32_t)n;
        if (t->left_at == t->left_n) rp_tls_drop_left(t);
    }
    return t->broken ? RP_E_CLOSED : RP_OK;
}

static void refuse_keys(struct rp_tls *t)
{
    t->why = "the client asks for new keys, which the kernel cannot change";
    t->broken = true;
}

/* OpenSSL would answer such a client with its next bytes, which never pass it. */
rp_err rp_tls_kernel_ready(struct rp_tls *t)
{
    if (SSL_get_key_update_type(t->ssl) != SSL_KEY_UPDATE_NONE) refuse_keys(t);
    return rp_tls_kernel_flush(t);
}

static bool is_key_update(uint8_t kind, const char *p, size_t n)
{
    return kind == HANDSHAKE && n > 0 && p[0] == KEY_UPDATE;
}

bool rp_tls_kernel_write(struct rp_tls *t, const char *p, size_t n)
{
    uint8_t kind = t->kind ? t->kind : DATA;
    char head[FRAME_HEAD] = {(char)kind, (char)(n >> 8 & 0xff), (char)(n & 0xff)};
    t->kind = 0;
    if (is_key_update(kind, p, n) || n > FRAME_MOST) refuse_keys(t);
    rp_err e = rp_tls_kernel_flush(t);
    if (e == RP_OK) e = offer_record(t, kind, p, n);
    if (e == RP_AGAIN && rp_tls_keep(t, head, sizeof head) == RP_AGAIN)
        RP_IGNORE(rp_tls_keep(t, p, (uint32_t)n)); /* AGAIN, or the connection is broken now */
    return !t->broken;
}
