/* SPDX-License-Identifier: MIT
 *
 * load: HTTP/1.1 load at a fixed rate (an open loop). Requests have their times beforehand and their
 * latency counts from those, so a server that stalls is charged for all who would have come meanwhile:
 * no coordinated omission (Tene, "How NOT to Measure Latency", 2013).
 *
 *   load ADDRESS PORT PATH RATE CONNECTIONS SECONDS TIMEOUT_MS
 *
 * Output: "begin SECONDS" of the monotonic clock, a line per 100 ms of request times: "slot MS DUE OK
 * FAILED P50_US P99_US MAX_US", a line per reason of failure: "why COUNT TEXT", and "all DUE OK FAILED
 * P50_US P99_US P999_US MAX_US".
 * A request fails when it gets no whole 200 in time; it is not repeated.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    SLOT_MS = 100,
    SLOTS_MOST = 36000,
    EVENTS_N = 256,
    HEAD_MOST = 8192,
    STEPS = 32, /* buckets in each power of two: 3% */
    BUCKETS = 32 * STEPS,
    CONNS_MOST = 65536,
};

struct histogram {
    uint32_t n[BUCKETS];
    uint64_t most;
};

struct slot {
    uint32_t ok, failed;
    struct histogram *latency;
};

enum phase { CLOSED, CONNECTING, IDLE, AWAITING };

struct client {
    int fd;
    enum phase phase;
    bool asked;      /* a request is meant for it */
    uint64_t due_ns; /* when that was to be sent */
    char head[HEAD_MOST];
    size_t head_n;
    uint64_t body_left;
    bool in_body, closes;
};

static struct {
    struct sockaddr_in to;
    char request[1024];
    size_t request_n;
    double rate;
    uint32_t clients_n, slots_n;
    uint64_t begin_ns, end_ns, timeout_ns;
    struct client *clients;
    uint32_t *idle; /* a stack */
    uint32_t idle_n;
    uint64_t next; /* the number of the next request */
    struct slot slots[SLOTS_MOST];
    struct histogram all;
    uint64_t ok, failed;
    uint32_t open; /* asked, and not answered */
    int loop;
} w;

enum why { WHY_STATUS, WHY_CLOSED, WHY_CONNECT, WHY_TIMEOUT, WHY_GARBAGE, WHY_N };
static const char *const WHY[] = {"another status than 200", "closed before the answer",
                                  "no connection", "no answer in time", "not HTTP"};
static uint64_t reasons[WHY_N];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- histograms ---------------------------------------------------------------------------- */

static uint32_t bucket_of(uint64_t us)
{
    if (us < STEPS) return (uint32_t)us;
    uint32_t top = 63 - (uint32_t)__builtin_clzll(us);
    uint32_t at = (top - 4) * STEPS + (uint32_t)(us >> (top - 5)) - STEPS;
    return at < BUCKETS ? at : BUCKETS - 1;
}

static uint64_t value_of(uint32_t bucket)
{
    if (bucket < STEPS) return bucket;
    return (uint64_t)(bucket % STEPS + STEPS) << (bucket / STEPS - 1);
}

static void note(struct histogram *h, uint64_t us)
{
    h->n[bucket_of(us)]++;
    if (us > h->most) h->most = us;
}

static uint64_t quantile(const struct histogram *h, double share)
{
    uint64_t all = 0, seen = 0;
    for (uint32_t i = 0; i < BUCKETS; i++) all += h->n[i];
    for (uint32_t i = 0; i < BUCKETS; i++) {
        seen += h->n[i];
        if (all && (double)seen >= share * (double)all) return value_of(i);
    }
    return 0;
}

/* ---- requests ------------------------------------------------------------------------------- */

static struct slot *slot_of(uint64_t due_ns)
{
    uint64_t i = (due_ns - w.begin_ns) / (SLOT_MS * 1000000ull);
    return &w.slots[i < w.slots_n ? i : w.slots_n - 1];
}

static void succeed(struct client *c)
{
    uint64_t us = (now_ns() - c->due_ns) / 1000;
    struct slot *s = slot_of(c->due_ns);
    if (!s->latency && !(s->latency = calloc(1, sizeof *s->latency))) die("calloc");
    note(s->latency, us);
    note(&w.all, us);
    s->ok++;
    w.ok++;
    w.open--;
    c->asked = false;
}

static void fail(struct client *c, enum why why)
{
    if (!c->asked) return;
    slot_of(c->due_ns)->failed++;
    reasons[why]++;
    w.failed++;
    w.open--;
    c->asked = false;
}

static void hang_up(struct client *c)
{
    if (c->phase == CLOSED) return;
    close(c->fd);
    c->phase = CLOSED;
}

static void rest(struct client *c)
{
    w.idle[w.idle_n++] = (uint32_t)(c - w.clients);
}

static void lose(struct client *c, enum why why)
{
    bool was_idle = !c->asked;
    fail(c, why);
    hang_up(c);
    if (!was_idle) rest(c);
}

static void watch(const struct client *c, uint32_t events, int how)
{
    struct epoll_event e = {.events = events, .data.u32 = (uint32_t)(c - w.clients)};
    if (epoll_ctl(w.loop, how, c->fd, &e) != 0) die("epoll_ctl");
}

static void put_request(struct client *c)
{
    c->head_n = c->body_left = 0;
    c->in_body = false;
    c->phase = AWAITING;
    ssize_t n = send(c->fd, w.request, w.request_n, MSG_NOSIGNAL);
    if (n != (ssize_t)w.request_n) lose(c, WHY_CLOSED);
}

static void begin(struct client *c)
{
    int one = 1;
    if (c->phase == IDLE) {
        put_request(c);
        return;
    }
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->phase = CONNECTING;
    bool begun =
        connect(c->fd, (const struct sockaddr *)&w.to, sizeof w.to) == 0 || errno == EINPROGRESS;
    if (begun) watch(c, EPOLLOUT, EPOLL_CTL_ADD);
    else lose(c, WHY_CONNECT);
}

static uint64_t due_of(uint64_t number)
{
    return w.begin_ns + (uint64_t)((double)number * 1e9 / w.rate);
}

/* Whatever is due goes out, while there are connections: what waits for one keeps its time. */
static void send_due(uint64_t now)
{
    while (w.idle_n && due_of(w.next) <= now && due_of(w.next) < w.end_ns) {
        struct client *c = &w.clients[w.idle[--w.idle_n]];
        c->due_ns = due_of(w.next++);
        c->asked = true;
        w.open++;
        begin(c);
    }
}

/* ---- answers -------------------------------------------------------------------------------- */

static void end_answer(struct client *c)
{
    succeed(c);
    if (c->closes) hang_up(c);
    else c->phase = IDLE;
    rest(c);
}

/* The head is whole: its status, and how long the body is (Content-Length alone). */
static bool read_head(struct client *c)
{
    int status = 0;
    c->closes = false;
    bool has_length = false;
    if (sscanf(c->head, "HTTP/1.%*d %d", &status) != 1) return lose(c, WHY_GARBAGE), false;
    for (const char *line = strstr(c->head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, "content-length:", 15) == 0) {
            c->body_left = strtoull(line + 17, NULL, 10);
            has_length = true;
        }
        if (strncasecmp(line + 2, "connection: close", 17) == 0) c->closes = true;
    }
    if (status != 200) return lose(c, WHY_STATUS), false;
    if (!has_length) return lose(c, WHY_GARBAGE), false;
    c->in_body = true;
    return true;
}

static void take(struct client *c, char *bytes, size_t n)
{
    if (!c->in_body) {
        size_t room = sizeof c->head - 1 - c->head_n;
        size_t part = n < room ? n : room, before = c->head_n;
        memcpy(c->head + c->head_n, bytes, part);
        c->head_n += part;
        c->head[c->head_n] = '\0';
        char *end = strstr(c->head, "\r\n\r\n");
        if (!end && c->head_n == sizeof c->head - 1) return lose(c, WHY_GARBAGE);
        if (!end) return;
        end[2] = '\0';
        size_t used = (size_t)(end + 4 - c->head) - before;
        if (!read_head(c)) return;
        bytes += used;
        n -= used;
    }
    c->body_left -= n < c->body_left ? n : c->body_left;
    if (c->body_left == 0) end_answer(c);
}

static void on_event(struct client *c, uint32_t events)
{
    static char piece[256 * 1024];
    if (c->phase == CLOSED) return;
    if (c->phase == CONNECTING) {
        int e = 0;
        socklen_t n = sizeof e;
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &n) != 0 || e) {
            lose(c, WHY_CONNECT);
            return;
        }
        watch(c, EPOLLIN, EPOLL_CTL_MOD);
        put_request(c);
        return;
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    ssize_t n = recv(c->fd, piece, sizeof piece, 0);
    if (n > 0 && c->phase == AWAITING) take(c, piece, (size_t)n);
    else if (n >= 0 || errno != EAGAIN) lose(c, WHY_CLOSED);
}

static void end_late(uint64_t now)
{
    for (uint32_t i = 0; i < w.clients_n; i++) {
        struct client *c = &w.clients[i];
        if (c->asked && now > c->due_ns + w.timeout_ns) lose(c, WHY_TIMEOUT);
    }
    /* Nobody was free for these, and they cannot be in time any more. */
    while (due_of(w.next) < w.end_ns && now > due_of(w.next) + w.timeout_ns) {
        slot_of(due_of(w.next++))->failed++;
        reasons[WHY_TIMEOUT]++;
        w.failed++;
    }
}

/* ---- main ------------------------------------------------------------------------------------ */

static void run(void)
{
    uint64_t looked = now_ns();
    for (;;) {
        struct epoll_event events[EVENTS_N];
        uint64_t now = now_ns();
        send_due(now);
        if (now > looked + 10 * 1000000u) {
            looked = now;
            end_late(now);
        }
        if (now >= w.end_ns && w.open == 0 && due_of(w.next) >= w.end_ns) return;
        int64_t until = (int64_t)(due_of(w.next) - now);
        int wait = w.idle_n && until > 0 && until < 10 * 1000000 ? (int)(until / 1000000) : 10;
        int n = epoll_wait(w.loop, events, EVENTS_N, w.idle_n && until <= 0 ? 0 : wait);
        for (int i = 0; i < n; i++) on_event(&w.clients[events[i].data.u32], events[i].events);
    }
}

static void report(void)
{
    printf("begin %.3f\n", (double)w.begin_ns / 1e9);
    for (uint32_t i = 0; i < w.slots_n; i++) {
        const struct slot *s = &w.slots[i];
        static const struct histogram none;
        const struct histogram *h = s->latency ? s->latency : &none;
        printf("slot %u %u %u %u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", i * SLOT_MS,
               s->ok + s->failed, s->ok, s->failed, quantile(h, 0.5), quantile(h, 0.99), h->most);
    }
    for (int i = 0; i < WHY_N; i++)
        if (reasons[i]) printf("why %" PRIu64 " %s\n", reasons[i], WHY[i]);
    printf("all %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
           "\n",
           w.ok + w.failed, w.ok, w.failed, quantile(&w.all, 0.5), quantile(&w.all, 0.99),
           quantile(&w.all, 0.999), w.all.most);
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: load ADDRESS PORT PATH RATE CONNECTIONS SECONDS TIMEOUT_MS\n");
        return 2;
    }
    w.to = (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)strtol(argv[2], NULL, 10))};
    double seconds = strtod(argv[6], NULL);
    w.rate = strtod(argv[4], NULL);
    w.clients_n = (uint32_t)strtoul(argv[5], NULL, 10);
    w.slots_n = (uint32_t)(seconds * 1000 / SLOT_MS);
    w.timeout_ns = strtoull(argv[7], NULL, 10) * 1000000u;
    bool fits = w.slots_n > 0 && w.slots_n <= SLOTS_MOST && w.clients_n <= CONNS_MOST;
    if (inet_pton(AF_INET, argv[1], &w.to.sin_addr) != 1 || !fits || w.rate <= 0 || !w.clients_n) {
        fprintf(stderr, "load: bad address or number\n");
        return 2;
    }
    int n = snprintf(w.request, sizeof w.request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", argv[3],
                     argv[1]);
    if (n < 0 || (size_t)n >= sizeof w.request) return 2;
    w.request_n = (size_t)n;
    w.clients = calloc(w.clients_n, sizeof *w.clients);
    w.idle = calloc(w.clients_n, sizeof *w.idle);
    w.loop = epoll_create1(EPOLL_CLOEXEC);
    if (!w.clients || !w.idle || w.loop < 0) die("start");
    for (uint32_t i = w.clients_n; i-- > 0;) rest(&w.clients[i]);
    w.begin_ns = now_ns();
    w.end_ns = w.begin_ns + (uint64_t)(seconds * 1e9);
    run();
    report();
    return 0;
}
