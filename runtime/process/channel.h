/* SPDX-License-Identifier: MIT
 *
 * channel: messages between the master and one child over a SOCK_SEQPACKET pair: a head of fixed
 * size, a text, and descriptors. A message arrives whole or not at all; the end of the pair is the
 * news that the other process died.
 *
 * Reload, seen on a worker's channel (attempt tells a late answer from one that is awaited):
 *   master  PREPARE, GIVE.., BUILD     worker  READY | FAILED text
 *   master  COMMIT                     worker  FLIPPED
 *   master  ABORT
 */
#ifndef RP_PROCESS_CHANNEL_H
#define RP_PROCESS_CHANNEL_H

#include "base/str.h"

/* What has a number here keeps it for ever, as does the head of messages: a master says DRAIN and STOP
 * to workers of the version before it (upgrade.h), commands may be of another version than the master
 * that they are for, and two versions speak during an upgrade. */
enum rp_message_kind {
    /* master to worker */
    RP_SAY_PREPARE = 1, /* fd: the bundle; a: listeners, b: files to come */
    RP_SAY_GIVE,        /* fds from index a on; b: enum rp_give */
    RP_SAY_BUILD,       /* all is given */
    RP_SAY_COMMIT,
    RP_SAY_ABORT,
    RP_SAY_REOPEN,    /* a: files to come by GIVE */
    RP_SAY_DRAIN = 7, /* a: milliseconds in which it accepts clients yet */
    RP_SAY_STOP = 8,
    RP_SAY_LISTEN, /* to one that was started without serving */
    RP_SAY_ASK,    /* a: ticket, 0: no answer is wanted; text: what lua/rproxy/ask.lua reads */
    /* worker to master */
    RP_SAY_READY,
    RP_SAY_FAILED, /* text: why */
    RP_SAY_FLIPPED,
    RP_SAY_WORN,    /* its Lua heap stays full: it would like a successor */
    RP_SAY_RESTORE, /* text: the plugin that does not work since the last reload */
    RP_SAY_TOLD,    /* a: ticket, b: status; text */
    /* evaluator, file reader, master */
    RP_SAY_FETCH,  /* text: path of a file that the site needs */
    RP_SAY_FILE,   /* a: 0 with the file's fd, else -rp_err */
    RP_SAY_RESULT, /* fd: plan and bundle */
    /* watcher to master */
    RP_SAY_CHANGED, /* text: path of the first file that changed */
    /* worker to master, once it drains */
    RP_SAY_DEAF = 21, /* it accepts nobody any more */
    /* command to master, and back */
    RP_SAY_COMMAND = 901, /* text: "reload" */
    RP_SAY_ANSWER = 902,  /* a: exit status; text */
    /* successor to the master before it, and back: upgrade.h */
    RP_SAY_HELLO = 1001,   /* a: format of the handover; text: version */
    RP_SAY_STAFFED = 1002, /* its workers are ready */
    RP_SAY_RELIEVE = 1003, /* there is no agent any more: start yours */
    RP_SAY_CARRY = 1004,   /* fds of the state to come, in their order */
    RP_SAY_STATE = 1005,   /* fd: the state's text; a: fds that came before */
};

enum rp_give { RP_GIVE_LISTENERS, RP_GIVE_FILES, RP_GIVE_ZONES };

enum {
    RP_CHANNEL_FDS = 64,               /* in one message */
    RP_CHANNEL_TEXT_BYTES = 32 * 1024, /* longer ones are cut */
};

struct rp_message_head {
    uint32_t kind; /* enum rp_message_kind */
    uint32_t attempt, generation;
    uint32_t a, b;
};

struct rp_message {
    struct rp_message_head head;
    size_t text_n;
    int fds[RP_CHANNEL_FDS]; /* own of who received it; -1 once taken */
    size_t fds_n;
    char text[RP_CHANNEL_TEXT_BYTES + 1]; /* a NUL follows it */
};

/* Both ends close-on-exec; non_blocking: both. RP_E_OS. */
RP_MUST rp_err rp_channel_pair(bool non_blocking, int fds[2]);
/* Send one message; text may be NONE; fds are borrowed.
 * ret   RP_OK; RP_AGAIN: the other side does not read (non-blocking); RP_E_CLOSED; RP_E_OS */
RP_MUST rp_err rp_channel_send(int fd, const struct rp_message_head *head, rp_str text,
                               const int *fds, size_t fds_n);
/* Receive one message.
 * ret   RP_OK; RP_AGAIN; RP_END: the other side is gone; RP_E_INVALID: malformed (nothing is left
 *       open); RP_E_OS */
RP_MUST rp_err rp_channel_recv(int fd, struct rp_message *m);
rp_str rp_channel_text(const struct rp_message *m);
/* Take descriptor i; -1 when the message has none. */
int rp_channel_take(struct rp_message *m, size_t i);
/* Close the descriptors that nobody took. */
void rp_channel_done(struct rp_message *m);
/* Wait until fd is readable; RP_OK, RP_E_TIMEOUT, RP_E_OS. */
RP_MUST rp_err rp_channel_wait(int fd, uint64_t wait_ms);

#endif
