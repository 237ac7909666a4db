/* SPDX-License-Identifier: MIT
 *
 * load: HTTP/1.1 load at a fixed rate (an open loop). Requests have their times beforehand and their
 * latency counts from those, so a server that stalls is charged for all who would have come meanwhile:
 * no coordinated omission (Tene, "How NOT to Measure Latency", 2013).
 *
 *   load ADDRESS PORT PATH RATE CONNECTIONS SECONDS TIMEOUT_MS [open] [turns] [closed]
 *        [flight=N] [watch=PID,...]
 *
 *   open     all connections are made before the first request is due, and each has asked once
 *   turns    each connection in its turn; without it the one that was used last, so that most are idle
 *   closed   RATE does not count: each connection asks again when it has its answer
 *   flight   at most so many requests at a time
 *   watch    also tell the time on processors that these processes took while requests were due
 *
 * Output: "begin SECONDS" of the monotonic clock, a line per 100 ms of request times: "slot MS DUE OK
 * FAILED P50_US P99_US MAX_US", a line per reason of failure: "why COUNT TEXT", with watch "cpu NS",
 * and "all DUE OK FAILED P50_US P99_US P999_US MAX_US".
 * A request fails when it gets no whole 200 in time; it is not repeated.
 *
 * More connections than a process may have descriptors are shared among several processes, which
 * begin together; slots are told when there is one.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    SLOT_MS = 100,
    SLOTS_MOST = 36000,
    EVENTS_N = 256,
    HEAD_MOST = 8192,
    STEPS = 32, /* buckets in each power of two: 3% */
    BUCKETS = 32 * STEPS,
    CONNS_MOST = 200000,
    PARTS_MOST = 16,
    RESERVE_FDS = 64,      /* of a process, beside its connections */
    PER_ADDRESS = 10000,   /* a source address has about 28,000 ports */
    GREETING_SECONDS = 5,  /* for the first answer on a connection */
    OPENING_SECONDS = 120, /* for all parts to have their connections */
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
    uint32_t clients_n, slots_n, flight;
    uint64_t begin_ns, end_ns, timeout_ns;
    struct client *clients;
    uint32_t *idle; /* a ring; the last one goes first, or with turns the first one */
    uint32_t idle_n, idle_first;
    bool opens, turns, closed;
    const char *watched;
    uint64_t next; /* the number of the next request */
    struct slot slots[SLOTS_MOST];
    struct histogram all;
    uint64_t ok, failed;
    uint32_t open; /* asked, and not answered */
    int loop;
} w;

/* What the parts share: when to begin, and what became of it. */
static struct shared {
    _Atomic uint32_t ready;
    _Atomic uint64_t begin_ns;
    struct part {
        struct histogram all;
        uint64_t ok, failed, reasons[8];
    } parts[PARTS_MOST];
} * shared;

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
    w.idle[(w.idle_first + w.idle_n++) % w.clients_n] = (uint32_t)(c - w.clients);
}

static struct client *rouse(void)
{
    uint32_t at = w.turns ? w.idle_first++ : w.idle_first + w.idle_n - 1;
    w.idle_first %= w.clients_n;
    w.idle_n--;
    return &w.clients[w.idle[at % w.clients_n]];
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

/* In a closed loop the next request is due as soon as somebody can make it. */
static uint64_t next_due(void)
{
    return w.closed ? now_ns() : due_of(w.next);
}

static bool can_ask(void)
{
    return w.idle_n > 0 && w.open < w.flight;
}

/* Whatever is due goes out, while there are connections: what waits for one keeps its time. */
static void send_due(void)
{
    while (can_ask()) {
        uint64_t due = next_due();
        if (due >= w.end_ns || due > now_ns()) return;
        struct client *c = rouse();
        c->due_ns = due;
        w.next++;
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
    while (!w.closed && due_of(w.next) < w.end_ns && now > due_of(w.next) + w.timeout_ns) {
        slot_of(due_of(w.next++))->failed++;
        reasons[WHY_TIMEOUT]++;
        w.failed++;
    }
}

/* ---- connections made beforehand ------------------------------------------------------------- */

/* The answer to the first request: no body is longer than what is read at once. */
static bool is_greeted(int fd)
{
    static char answer[HEAD_MOST];
    size_t have = 0;
    while (have < sizeof answer - 1) {
        ssize_t n = recv(fd, answer + have, sizeof answer - 1 - have, 0);
        if (n <= 0) return false;
        have += (size_t)n;
        answer[have] = '\0';
        char *end = strstr(answer, "\r\n\r\n"), *length = strcasestr(answer, "content-length:");
        if (!end) continue;
        if (!length || length > end) return false;
        if (have >= (size_t)(end + 4 - answer) + strtoull(length + 15, NULL, 10)) return true;
    }
    return false;
}

static void greet(struct client *c, uint32_t number)
{
    int one = 1;
    struct timeval patience = {.tv_sec = GREETING_SECONDS};
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number / PER_ADDRESS);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from) != 0) die("bind");
    if (connect(c->fd, (const struct sockaddr *)&w.to, sizeof w.to) != 0) die("connect");
    if (send(c->fd, w.request, w.request_n, MSG_NOSIGNAL) != (ssize_t)w.request_n) die("send");
    if (!is_greeted(c->fd)) {
        fprintf(stderr, "load: connection %u got no answer\n", number);
        exit(1);
    }
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) die("fcntl");
    c->phase = IDLE;
    watch(c, EPOLLIN, EPOLL_CTL_ADD);
}

/* ---- time on processors ---------------------------------------------------------------------- */

static uint64_t thread_ns(const char *pid, const char *thread)
{
    char path[320], text[64];
    snprintf(path, sizeof path, "/proc/%s/task/%s/schedstat", pid, thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (n <= 0) return 0;
    text[n] = '\0';
    return strtoull(text, NULL, 10);
}

static uint64_t process_ns(const char *pid)
{
    char path[64];
    uint64_t ns = 0;
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *dir = opendir(path);
    if (!dir) return 0;
    for (struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.') ns += thread_ns(pid, e->d_name);
    closedir(dir);
    return ns;
}

static uint64_t watched_ns(void)
{
    char list[1024];
    uint64_t ns = 0;
    snprintf(list, sizeof list, "%s", w.watched ? w.watched : "");
    for (char *rest_of, *pid = strtok_r(list, ",", &rest_of); pid;
         pid = strtok_r(NULL, ",", &rest_of))
        ns += process_ns(pid);
    return ns;
}

/* ---- the run --------------------------------------------------------------------------------- */

/* Until the next request is due; when none can be made, until something comes. */
static struct timespec pause_before(uint64_t due, uint64_t now)
{
    uint64_t most = 10 * 1000000u;
    uint64_t left = due > now ? due - now : 0;
    /* To the nanosecond: whoever spins takes the processor from the origin. */
    return (struct timespec){.tv_nsec = (long)(!can_ask() || left > most ? most : left)};
}

static void run(void)
{
    uint64_t looked = now_ns();
    for (;;) {
        struct epoll_event events[EVENTS_N];
        send_due();
        uint64_t now = now_ns(), due = next_due();
        if (now > looked + 10 * 1000000u) {
            looked = now;
            end_late(now);
        }
        if (now >= w.end_ns && w.open == 0 && due >= w.end_ns) return;
        struct timespec wait = pause_before(due, now);
        int n = epoll_pwait2(w.loop, events, EVENTS_N, &wait, NULL);
        for (int i = 0; i < n; i++) on_event(&w.clients[events[i].data.u32], events[i].events);
    }
}

static void report(uint32_t parts_n, uint64_t cpu_ns)
{
    printf("begin %.3f\n", (double)w.begin_ns / 1e9);
    for (uint32_t i = 0; parts_n == 1 && i < w.slots_n; i++) {
        const struct slot *s = &w.slots[i];
        static const struct histogram none;
        const struct histogram *h = s->latency ? s->latency : &none;
        printf("slot %u %u %u %u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", i * SLOT_MS,
               s->ok + s->failed, s->ok, s->failed, quantile(h, 0.5), quantile(h, 0.99), h->most);
    }
    for (int i = 0; i < WHY_N; i++)
        if (reasons[i]) printf("why %" PRIu64 " %s\n", reasons[i], WHY[i]);
    if (w.watched) printf("cpu %" PRIu64 "\n", cpu_ns);
    printf("all %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
           "\n",
           w.ok + w.failed, w.ok, w.failed, quantile(&w.all, 0.5), quantile(&w.all, 0.99),
           quantile(&w.all, 0.999), w.all.most);
}

/* ---- parts ----------------------------------------------------------------------------------- */

static uint32_t descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) die("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur > CONNS_MOST + RESERVE_FDS ? CONNS_MOST : (uint32_t)limit.rlim_cur;
}

static void wait_for(const char *what, uint32_t parts_n)
{
    for (int i = 0; i < OPENING_SECONDS * 1000; i++) {
        bool is_so = what[0] == 'r' ? shared->ready == parts_n : shared->begin_ns != 0;
        if (is_so) return;
        usleep(1000);
    }
    fprintf(stderr, "load: waited in vain until all is %s\n", what);
    exit(1);
}

static void prepare(uint32_t part, uint32_t parts_n)
{
    uint32_t each = w.clients_n / parts_n;
    uint32_t first = part * each;
    w.clients_n = part == parts_n - 1 ? w.clients_n - first : each;
    w.rate /= parts_n;
    w.flight = (w.flight + parts_n - 1) / parts_n;
    w.clients = calloc(w.clients_n, sizeof *w.clients);
    w.idle = calloc(w.clients_n, sizeof *w.idle);
    w.loop = epoll_create1(EPOLL_CLOEXEC);
    if (!w.clients || !w.idle || w.loop < 0) die("start");
    for (uint32_t i = w.clients_n; i-- > 0;) {
        if (w.opens) greet(&w.clients[i], first + i);
        rest(&w.clients[i]);
    }
}

static void begin_together(uint32_t part, uint32_t parts_n, double seconds)
{
    atomic_fetch_add(&shared->ready, 1);
    if (part == 0) {
        wait_for("ready", parts_n);
        shared->begin_ns = now_ns();
    }
    wait_for("begun", parts_n);
    w.begin_ns = shared->begin_ns;
    w.end_ns = w.begin_ns + (uint64_t)(seconds * 1e9);
}

static void hand_in(struct part *mine)
{
    mine->all = w.all;
    mine->ok = w.ok;
    mine->failed = w.failed;
    memcpy(mine->reasons, reasons, sizeof reasons);
}

static void gather(const struct part *other)
{
    for (uint32_t i = 0; i < BUCKETS; i++) w.all.n[i] += other->all.n[i];
    if (other->all.most > w.all.most) w.all.most = other->all.most;
    w.ok += other->ok;
    w.failed += other->failed;
    for (int i = 0; i < WHY_N; i++) reasons[i] += other->reasons[i];
}

static void be_parts(uint32_t parts_n, double seconds)
{
    uint32_t part = 0;
    for (uint32_t i = 1; i < parts_n && part == 0; i++) {
        pid_t pid = fork();
        if (pid < 0) die("fork");
        if (pid > 0) continue;
        (void)prctl(PR_SET_PDEATHSIG, 9);
        part = i;
    }
    prepare(part, parts_n);
    begin_together(part, parts_n, seconds);
    uint64_t before = part == 0 ? watched_ns() : 0;
    run();
    if (part > 0) {
        hand_in(&shared->parts[part]);
        return;
    }
    uint64_t after = watched_ns();
    int status;
    while (wait(&status) > 0)
        if (status != 0) die("a part failed");
    for (uint32_t i = 1; i < parts_n; i++) gather(&shared->parts[i]);
    report(parts_n, after - before);
}

/* ---- main ------------------------------------------------------------------------------------ */

static bool take_options(char **words)
{
    for (; *words; words++) {
        if (strcmp(*words, "open") == 0) w.opens = true;
        else if (strcmp(*words, "turns") == 0) w.turns = true;
        else if (strcmp(*words, "closed") == 0) w.closed = true;
        else if (strncmp(*words, "flight=", 7) == 0) w.flight = (uint32_t)atoi(*words + 7);
        else if (strncmp(*words, "watch=", 6) == 0) w.watched = *words + 6;
        else return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    w.flight = CONNS_MOST;
    if (argc < 8 || !take_options(argv + 8)) {
        fprintf(stderr, "usage: load ADDRESS PORT PATH RATE CONNECTIONS SECONDS TIMEOUT_MS [open] "
                        "[turns] [closed] [flight=N] [watch=PID,...]\n");
        return 2;
    }
    w.to = (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)strtol(argv[2], NULL, 10))};
    double seconds = strtod(argv[6], NULL);
    w.rate = strtod(argv[4], NULL);
    w.clients_n = (uint32_t)strtoul(argv[5], NULL, 10);
    w.slots_n = (uint32_t)(seconds * 1000 / SLOT_MS);
    w.timeout_ns = strtoull(argv[7], NULL, 10) * 1000000u;
    uint32_t room = descriptors() - RESERVE_FDS;
    uint32_t parts_n = (w.clients_n + room - 1) / room;
    bool fits = w.slots_n > 0 && w.slots_n <= SLOTS_MOST && w.clients_n <= CONNS_MOST &&
                parts_n <= PARTS_MOST;
    fits = fits && w.flight > 0;
    if (inet_pton(AF_INET, argv[1], &w.to.sin_addr) != 1 || !fits || w.rate <= 0 || !w.clients_n) {
        fprintf(stderr, "load: bad address or number\n");
        return 2;
    }
    int n = snprintf(w.request, sizeof w.request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", argv[3],
                     argv[1]);
    if (n < 0 || (size_t)n >= sizeof w.request) return 2;
    w.request_n = (size_t)n;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) die("mmap");
    (void)prctl(PR_SET_TIMERSLACK, 1000ul);
    be_parts(parts_n, seconds);
    return 0;
}
