/* SPDX-License-Identifier: MIT
 *
 * abi_lib: part of abi.h, whose rules hold: what the library of plugins is made of. Regular expressions,
 * text, crypto, shared zones, locks, files, programs.
 */
#ifndef RP_SCRIPT_ABI_LIB_H
#define RP_SCRIPT_ABI_LIB_H

#include "base/regex.h"
#include "http/multipart.h"
#include "shm/share.h"

struct rp_host_face;

/* ---- regex, text, crypto -------------------------------------------------------------------- */

/* NULL: out says why. flags: letters i m s x u a. */
struct rp_regex *rp_abi_regex_compile(struct rp_host_face *h, const char *p, size_t n,
                                      const char *flags, size_t flags_n);
void rp_abi_regex_free(struct rp_regex *re);
/* As rp_abi_head_match, on a text. RP_E_INVALID: from is past the end. */
rp_err rp_abi_regex_match(struct rp_host_face *h, const struct rp_regex *re, const char *p,
                          size_t n, size_t from);
/* Does it occur at all? No spans. RP_OK, RP_END, RP_E_CAP. */
rp_err rp_abi_regex_test(struct rp_host_face *h, const struct rp_regex *re, const char *p,
                         size_t n);
/* Index (from..n-1) of the first of n patterns that occurs in the text; n: none does; < 0: rp_err,
 * and the pattern that hit its limits is face->at_pattern. any: occurs whenever one of them does
 * (all of them in one pass), or NULL. */
double rp_abi_regex_first(struct rp_host_face *h, const struct rp_regex *any,
                          struct rp_regex *const *list, uint32_t n, uint32_t from, const char *p,
                          size_t p_n);

enum rp_abi_codec {
    RP_ABI_BASE64,
    RP_ABI_BASE64URL,
    RP_ABI_HEX,
    RP_ABI_URI_COMPONENT,
    RP_ABI_URI_PATH,
};
/* Into out. decode: RP_E_INVALID. RP_E_CAP when the text is absurdly long. */
rp_err rp_abi_encode(struct rp_host_face *h, uint32_t codec, const char *p, size_t n);
rp_err rp_abi_decode(struct rp_host_face *h, uint32_t codec, const char *p, size_t n);

enum { RP_ABI_DIGEST_BYTES = 64 };
/* Digest of several pieces: begin, add.., end into out. key NULL: plain digest, else HMAC.
 * RP_E_NOT_FOUND for an unknown algorithm ("md5" "sha1" "sha256" "sha384" "sha512"). */
rp_err rp_abi_digest_begin(struct rp_host_face *h, const char *alg, const char *key, size_t key_n);
void rp_abi_digest_add(struct rp_host_face *h, const char *p, size_t n);
rp_err rp_abi_digest_end(struct rp_host_face *h);
void rp_abi_random(char *out, size_t n);
bool rp_abi_equal(const char *a, const char *b, size_t n); /* time depends on n alone */
double rp_abi_hash(const char *p, size_t n); /* 52 bits, the same in every process and release */
/* 0 .. buckets - 1. */
uint32_t rp_abi_jump(const char *p, size_t n, uint32_t buckets);

/* ---- shared zones ---------------------------------------------------------------------------- */

/* The zone of that name; NULL: there is none, or the host is not attached yet. Good for the life of
 * the host. What follows is shm/dict.h with the clock added; seconds from now on, < 0: never. */
/* A pointer of the kind's own type. */
void *rp_abi_shared_find(struct rp_host_face *h, const char *name, size_t n);
/* The value: item, and out when it is a string. number: seconds left, < 0: no end. */
rp_err rp_abi_shared_get(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n);
/* What a get would give, without a string's bytes. number: seconds left, < 0: no end. */
rp_err rp_abi_shared_look(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n);
/* ttl, and how much longer it may be served stale. text: of a RP_DICT_STRING. */
rp_err rp_abi_shared_set(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                         uint32_t mode, uint32_t type, double number, const char *text,
                         size_t text_n, double ttl, double stale);
/* Replace what is believed to be there (type 0: nothing) by another value (type 0: nothing). RP_END:
 * something else is. */
rp_err rp_abi_shared_swap(struct rp_dict *d, const char *key, size_t n, uint32_t old_type,
                          double old_number, const char *old_text, size_t old_n, uint32_t type,
                          double number, const char *text, size_t text_n, double ttl);
rp_err rp_abi_shared_delete(struct rp_dict *d, const char *key, size_t n);
rp_err rp_abi_shared_incr(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                          double by, bool has_init, double init, double ttl); /* number: the sum */
rp_err rp_abi_shared_expire(struct rp_dict *d, const char *key, size_t n, double ttl);
rp_err rp_abi_shared_flush(struct rp_dict *d);
rp_err rp_abi_shared_next(struct rp_host_face *h, struct rp_dict *d,
                          double at);                                      /* number: next at */
void rp_abi_shared_stats(struct rp_host_face *h, const struct rp_dict *d); /* zone_stats */
rp_err rp_abi_shared_lease(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                           double seconds);
rp_err rp_abi_shared_unlease(struct rp_dict *d, const char *key, size_t n);
/* verdict */
rp_err rp_abi_shared_take(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                          double cost, double rate, double burst);
rp_err rp_abi_shared_leak(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                          double cost, double rate, double burst);
rp_err rp_abi_shared_window(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                            double cost, double limit, double window);
rp_err rp_abi_shared_acquire(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                             double limit, double lease); /* number: the ticket */
rp_err rp_abi_shared_release(struct rp_dict *d, const char *key, size_t n, double ticket);
/* A place for the running task's request (or background task), given back with it. number: the
 * handle, when the verdict allows. RP_E_PHASE: nothing runs. */
rp_err rp_abi_shared_hold(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                          double limit);
rp_err rp_abi_shared_unhold(struct rp_host_face *h, double handle); /* RP_E_STALE */

/* Counters. kind: enum rp_tally_kind. number: what add, set and sum take. */
rp_err rp_abi_tally_name(struct rp_host_face *h, struct rp_tally *t, const char *name, size_t n,
                         uint32_t kind);
void rp_abi_tally_add(struct rp_host_face *h, struct rp_tally *t, uint32_t at, double n);
void rp_abi_tally_set(struct rp_host_face *h, struct rp_tally *t, uint32_t at, double n);
double rp_abi_tally_sum(const struct rp_tally *t, uint32_t at);
bool rp_abi_tally_at(struct rp_host_face *h, const struct rp_tally *t, uint32_t at); /* out */
double rp_abi_tally_room(const struct rp_tally *t);

rp_err rp_abi_top_add(struct rp_top *t, const char *key, size_t n, double count);
/* At most 1000; number: how many. Good until the next ABI call. */
const struct rp_top_item *rp_abi_top_list(struct rp_host_face *h, struct rp_top *t, double most);
rp_err rp_abi_top_flush(struct rp_top *t);
void rp_abi_top_stats(const struct rp_top *t, struct rp_top_stats *out);

rp_err rp_abi_distinct_add(struct rp_distinct *d, const char *name, size_t n, const char *item,
                           size_t item_n);
/* number: for count and clear. */
rp_err rp_abi_distinct_find(struct rp_host_face *h, const struct rp_distinct *d, const char *name,
                            size_t n);
double rp_abi_distinct_count(const struct rp_distinct *d, const uint32_t *list, uint32_t n);
void rp_abi_distinct_clear(struct rp_distinct *d, uint32_t at);
bool rp_abi_distinct_at(struct rp_host_face *h, const struct rp_distinct *d, uint32_t at); /* out */

/* Sets. Read the file when it is not the one that is in the set. Results: RP_OK; RP_END: another worker
 * reads it; RP_E_STALE: it was tried and is bad, as it was told then (not with anew); else out says
 * what is wrong. NULL: out says why. */
struct rp_vm_job *rp_abi_lookup_load(struct rp_host_face *h, const char *zone, size_t zone_n,
                                     uint32_t type, const char *path, size_t path_n, bool anew);
/* By its type. out: the value; out2: of networks, which one. number: of names, bytes of the entry.
 * RP_E_NOT_FOUND; RP_E_INVALID: no address; RP_E_BUSY. */
rp_err rp_abi_lookup(struct rp_host_face *h, const struct rp_lookup *l, uint32_t type,
                     const char *key, size_t n);
/* Line i of a version (0: whichever), into out; number: the version. */
rp_err rp_abi_lookup_line(struct rp_host_face *h, const struct rp_lookup *l, uint32_t i,
                          double version);
double rp_abi_lookup_version(const struct rp_lookup *l);
void rp_abi_lookup_stats(const struct rp_lookup *l, struct rp_lookup_stats *out);

/* ---- locks, seats, files, processes: handles of things that belong to the running task's request (or
 * background task) and are given back with it; RP_E_STALE for one that is gone, or another owner's. A
 * task that is cancelled or fails gives back at once what it made. ------------------------------- */

/* A lock for all workers, in a store. RP_OK: handle, and number: its fence; RP_AGAIN: taken; number:
 * seconds until that lease is over. */
rp_err rp_abi_lock(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                   double lease);
/* Hold it for `lease` seconds from now on. RP_E_NOT_FOUND: the lease was over. */
rp_err rp_abi_lock_renew(struct rp_host_face *h, double lock, double lease);
rp_err rp_abi_lock_release(struct rp_host_face *h, double lock); /* RP_E_NOT_FOUND: as above */

/* `limit` seats of this worker; `waiting` may wait for one, in order. */
struct rp_sem;
struct rp_sem *rp_abi_sem_new(double limit, double waiting);
void rp_abi_sem_free(struct rp_sem *sem); /* when its last seat is given back */
/* RP_OK: seated; RP_AGAIN: in the queue, whose end wakes the task; both: handle. RP_E_BUSY: the queue
 * is full. */
rp_err rp_abi_sem_enter(struct rp_host_face *h, struct rp_sem *sem);
bool rp_abi_sem_is_seated(struct rp_host_face *h, double seat);
rp_err rp_abi_sem_leave(struct rp_host_face *h, double seat);
double rp_abi_sem_count(const struct rp_sem *sem, bool waiting); /* seats taken, or tasks waiting */

enum rp_abi_file_op {
    RP_FILE_READ,   /* number: most bytes; out: the bytes */
    RP_FILE_WRITE,  /* number: mode bits */
    RP_FILE_SWAP,   /* the same through a new file that takes the name (rename) when it is whole */
    RP_FILE_APPEND, /* number: mode bits */
    RP_FILE_STAT,   /* file_stat */
    RP_FILE_LIST, /* number: most names; out: for each a letter (f d l o) and the name, ended by NUL */
    RP_FILE_REMOVE, /* a file or an empty folder */
    RP_FILE_MKDIR,  /* number: mode bits; text "p": the folders above it, too */
    RP_FILE_RENAME, /* text: the new path */
};
/* Start on the thread pool; handle; the job's end wakes the task. Copies. RP_E_BUSY: too many.
 * root_n: bytes at the beginning of the path that are a folder which no link may lead out of (what would
 * is RP_E_OS, EACCES); < 0: links are followed wherever they lead. to_root_n: the same of RENAME's text. */
rp_err rp_abi_file(struct rp_host_face *h, uint32_t op, const char *path, size_t path_n,
                   double root_n, const char *text, size_t n, double to_root_n, double number);
/* RP_AGAIN: it runs: park. Else its result, and the handle is gone. RP_E_TOO_BIG: READ and LIST;
 * RP_E_INVALID: READ of what is no plain file; RP_E_OS: number is the errno and out its words. */
rp_err rp_abi_file_done(struct rp_host_face *h, double job);

/* Start a program without a shell: argv and env are texts ended by NUL each, one after the other; cwd
 * empty: as it is. It has no descriptor but its three, a process group of its own, and is killed with
 * that group when it is let go of. out_most: bytes of each of its outputs; more is RP_E_TOO_BIG.
 * RP_OK: handle, and its end wakes the task. RP_E_BUSY; RP_E_OS: out says why. */
rp_err rp_abi_exec(struct rp_host_face *h, const char *argv, size_t argv_n, const char *env,
                   size_t env_n, const char *cwd, const char *in, size_t in_n, double out_most);
/* RP_AGAIN: it runs. RP_OK: out and out2 are its outputs, number its exit status, or - the signal.
 * They are good until the handle is let go of. */
rp_err rp_abi_exec_done(struct rp_host_face *h, double child);
void rp_abi_exec_free(struct rp_host_face *h, double child);
double rp_abi_pid(void); /* the worker's */

/* Addresses are 16 bytes, IPv4 mapped (::ffff:0:0/96). parse: out has room for them; number: 4 or 6.
 * RP_E_INVALID. */
rp_err rp_abi_ip_parse(struct rp_host_face *h, const char *p, size_t n, char *out);
void rp_abi_ip_text(struct rp_host_face *h, const char *ip); /* into out */
void rp_abi_ip_mask(char *ip, uint32_t bits);                /* of 128 */
rp_err rp_abi_cidr_parse(struct rp_host_face *h, const char *p, size_t n,
                         char *out); /* number: bits of 128 */
/* A set of networks of this VM, with room for so many. NULL: too many. Nothing is added after the first
 * question. */
struct rp_vm_nets;
struct rp_vm_nets *rp_abi_nets_new(double most);
void rp_abi_nets_free(struct rp_vm_nets *nets);
rp_err rp_abi_nets_add(struct rp_vm_nets *nets, const char *p, size_t n); /* RP_E_INVALID */
/* RP_OK: it is in it; RP_E_NOT_FOUND; RP_E_INVALID: no address. */
rp_err rp_abi_nets_has(const struct rp_vm_nets *nets, const char *p, size_t n);
bool rp_abi_nets_has_ip(const struct rp_vm_nets *nets, const char *ip);

/* A key for signatures: RSA of 2048 to 8192 bits, EC on P-256, P-384, P-521, Ed25519. */
struct rp_key;
enum rp_abi_key_kind {
    RP_KEY_RSA = 1,
    RP_KEY_P256,
    RP_KEY_P384,
    RP_KEY_P521,
    RP_KEY_ED25519,
};
/* From PEM: a public key, a private key without password, or a certificate. NULL: out says why. */
struct rp_key *rp_abi_key_pem(struct rp_host_face *h, const char *p, size_t n);
/* From numbers, most significant byte first (RFC 7518 §6): RSA a = n, b = e; EC a = x, b = y; Ed25519
 * a = x. d: the private part, or empty. NULL: out says why. */
struct rp_key *rp_abi_key_parts(struct rp_host_face *h, uint32_t kind, const char *a, size_t a_n,
                                const char *b, size_t b_n, const char *d, size_t d_n);
void rp_abi_key_free(struct rp_key *key);
uint32_t rp_abi_key_kind(const struct rp_key *key);
bool rp_abi_key_is_private(const struct rp_key *key);
/* alg: a name of RFC 7518 §3.1 or RFC 8037 for signatures ("ES256"). sign: into out. verify: RP_OK; RP_END: does
 * not verify. RP_E_NOT_FOUND: no such alg; RP_E_INVALID: not for a key of this kind. */
rp_err rp_abi_key_sign(struct rp_host_face *h, struct rp_key *key, const char *alg, const char *p,
                       size_t n);
rp_err rp_abi_key_verify(struct rp_host_face *h, struct rp_key *key, const char *alg, const char *p,
                         size_t n, const char *sig, size_t sig_n);
/* "aes-128-gcm" "aes-256-gcm" "chacha20-poly1305"; nonces have 12 bytes, the tag (16) follows the
 * text. seal and open: into out. RP_E_NOT_FOUND: no such alg; RP_E_INVALID: length of key or nonce;
 * RP_E_CAP: too long; RP_END: the tag is wrong. */
rp_err rp_abi_aead(struct rp_host_face *h, bool seal, const char *alg, const char *key,
                   size_t key_n, const char *nonce, size_t nonce_n, const char *text, size_t n,
                   const char *aad, size_t aad_n);

/* Of encrypted tokens (RFC 7518 §4, §5); results in out. RP_E_INVALID: not such a key; RP_END: it
 * cannot be done, or is not what was made; RP_E_CAP. cbc: AES-128 with padding. keywrap: RFC 3394. oaep: with
 * SHA-256. ecdh: what two keys of one curve agree on, own a private one. */
rp_err rp_abi_cbc(struct rp_host_face *h, bool seal, const char *key, size_t key_n, const char *iv,
                  size_t iv_n, const char *text, size_t n);
rp_err rp_abi_keywrap(struct rp_host_face *h, bool wrap, const char *kek, size_t kek_n,
                      const char *key, size_t n);
rp_err rp_abi_oaep(struct rp_host_face *h, bool seal, struct rp_key *key, const char *text,
                   size_t n);
rp_err rp_abi_ecdh(struct rp_host_face *h, struct rp_key *own, struct rp_key *other);
struct rp_key *rp_abi_key_draw(struct rp_host_face *h, uint32_t kind); /* a new one, of a curve */
bool rp_abi_key_point(struct rp_host_face *h, struct rp_key *key);     /* out: x, out2: y */

/* Certificates. From PEM (the first one) or DER. NULL: out says why. */
struct rp_x509;
struct rp_x509 *rp_abi_x509_new(struct rp_host_face *h, const char *p, size_t n);
void rp_abi_x509_free(struct rp_x509 *c);
/* As rp_abi_key_pem. */
struct rp_key *rp_abi_x509_key(struct rp_host_face *h, const struct rp_x509 *c);
enum rp_abi_x509_text {
    RP_X509_SUBJECT, /* RFC 2253 */
    RP_X509_ISSUER,
    RP_X509_SERIAL,      /* hex */
    RP_X509_FINGERPRINT, /* SHA-256, hex */
    RP_X509_PEM,
    RP_X509_DER,
};
enum rp_abi_x509_number {
    RP_X509_NOT_BEFORE, /* seconds since 1970 */
    RP_X509_NOT_AFTER,
    RP_X509_IS_CA,
    RP_X509_VERSION,
};
bool rp_abi_x509_text(struct rp_host_face *h, const struct rp_x509 *c, uint32_t what);
double rp_abi_x509_number(const struct rp_x509 *c, uint32_t what);
/* Alternative name i, "DNS:a.example"; empty: of a kind that is not read. False past the last. */
bool rp_abi_x509_san(struct rp_host_face *h, const struct rp_x509 *c, uint32_t i);
bool rp_abi_x509_is_for(const struct rp_x509 *c, const char *name, size_t n, bool is_ip);
/* Authorities. NULL: out says why. */
struct rp_x509_store;
struct rp_x509_store *rp_abi_x509_store_new(struct rp_host_face *h, const char *p, size_t n);
void rp_abi_x509_store_free(struct rp_x509_store *s);
/* chain: PEM of what is between, may be empty. purpose: "server", "client", "any". RP_END: out says
 * why not. */
rp_err rp_abi_x509_verify(struct rp_host_face *h, const struct rp_x509 *c,
                          const struct rp_x509_store *s, const char *chain, size_t chain_n,
                          const char *purpose, double time);

/* A body of multipart/form-data, by its Content-Type. NULL: no such type. */
struct rp_multipart;
struct rp_multipart *rp_abi_multipart_new(const char *type, size_t type_n, uint32_t parts);
void rp_abi_multipart_free(struct rp_multipart *m);
rp_err rp_abi_multipart_feed(struct rp_multipart *m, const char *p, size_t n);
/* The next event, as rp_multipart_next; number: which. PART: out is the name, out2 the filename
 * (absent: its ptr is NULL), its type by rp_abi_multipart_type. DATA: out. */
rp_err rp_abi_multipart_next(struct rp_host_face *h, struct rp_multipart *m);
void rp_abi_multipart_type(struct rp_host_face *h, const struct rp_multipart *m);

/* Packing: gzip or zlib; most: bytes that may come out in all. */
struct rp_vm_gzip;
struct rp_vm_gzip *rp_abi_gzip_new(bool unpack, bool gzip, uint32_t level, double most);
void rp_abi_gzip_free(struct rp_vm_gzip *g);
/* Into out. RP_E_INVALID: no such text, or cut off; RP_E_TOO_BIG; RP_E_CAP: more than 8 MB at once;
 * RP_E_PHASE: it is over. */
rp_err rp_abi_gzip_step(struct rp_host_face *h, struct rp_vm_gzip *g, const char *p, size_t n,
                        bool last);

/* What runs on the pool while the task waits: park while rp_abi_job_result returns RP_AGAIN. Then it is
 * the job's result, with `out`. Where nothing can wait it has run already. */
struct rp_vm_job;
rp_err rp_abi_job_result(struct rp_host_face *h, struct rp_vm_job *job);
void rp_abi_job_free(struct rp_vm_job *job);

/* Derive a key from a password: alg "" is scrypt (RFC 7914; rounds: N, block: r, parallel: p,
 * together at most 64 MB), else the digest of PBKDF2 ("SHA256"). NULL: out says why. Result:
 * RP_E_INVALID: OpenSSL does not take these numbers. */
struct rp_vm_job *rp_abi_derive(struct rp_host_face *h, const char *alg, const char *password,
                                size_t password_n, const char *salt, size_t salt_n, double rounds,
                                double block, double parallel, double bytes);
/* Result: RP_OK: it is the password; RP_END: it is not; RP_E_INVALID: not a hash that is known. */
struct rp_vm_job *rp_abi_password_check(struct rp_host_face *h, const char *hash, size_t hash_n,
                                        const char *password, size_t n);
/* prefix: as crypt_gensalt(3) has them, "$2b$". cost 0: the library's. */
struct rp_vm_job *rp_abi_password_make(struct rp_host_face *h, const char *prefix, double cost,
                                       const char *password, size_t n);

#endif
