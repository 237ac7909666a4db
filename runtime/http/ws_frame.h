/* SPDX-License-Identifier: MIT
 *
 * ws_frame: WebSocket frames in a stream that is relayed (RFC 6455 §5): a push parser that says which
 * bytes go on, and the control frames that we make ourselves. Pure; one parser per direction.
 *
 * Payload of data frames goes on as it comes, as slices of the input. A head is kept back until it is
 * whole and found good, a control frame until its last byte. So what went on always ends between two
 * frames or within the payload of a data frame (`left`), and between two frames one of our own may
 * follow. Not checked: UTF-8 of texts, what an extension means.
 */
#ifndef RP_HTTP_WS_FRAME_H
#define RP_HTTP_WS_FRAME_H

#include "base/err.h"
#include "base/str.h"

enum rp_ws_opcode {
    RP_WS_CONTINUATION = 0,
    RP_WS_TEXT = 1,
    RP_WS_BINARY = 2,
    RP_WS_CLOSE = 8,
    RP_WS_PING = 9,
    RP_WS_PONG = 10,
};

enum {
    RP_WS_CONTROL_MOST = 125,                  /* payload bytes of a control frame (§5.5) */
    RP_WS_FRAME_MOST = 6 + RP_WS_CONTROL_MOST, /* a whole control frame */
};

struct rp_ws_rules {
    bool from_client;     /* then frames are masked, else they are not (§5.1) */
    bool extended;        /* an extension was agreed upon: RSV bits mean something */
    uint64_t frame_max;   /* payload bytes of one frame; 0: any */
    uint64_t message_max; /* ... of all frames of one message */
};

struct rp_ws {
    uint64_t left;    /* payload bytes of a data frame that did not come yet */
    uint64_t message; /* payload bytes of the message so far, all of this frame included */
    uint64_t frames;  /* heads seen */
    bool in_message;  /* a message has more frames to come */
    bool closed;      /* a Close frame went on */
    bool went_on;     /* what is held: the next byte begins a frame */
    uint8_t opcode;   /* of the last head */
    uint8_t head_n;   /* bytes of the head under way; 0: its second byte did not come yet */
    uint8_t held_n;   /* bytes kept back */
    uint8_t held[RP_WS_FRAME_MOST];
};

void rp_ws_init(struct rp_ws *w);
/* Look at the next bytes of the stream.
 * out   *used of them are taken; *pass goes on to the other side: a slice of in, or of w (then valid
 *       until the next call), or empty
 * ret   RP_OK; RP_END the same, and *pass is one whole control frame (w->opcode, rp_ws_payload);
 *       RP_AGAIN all was taken, nothing goes on; RP_E_WS_PROTOCOL, RP_E_WS_FRAME_BIG,
 *       RP_E_WS_MESSAGE_BIG: nothing of that frame goes on, and the parser is of no more use
 * cost  O(n) over heads and control frames; payload is not looked at
 * src   RFC 6455 §5.2 to §5.5, §7.4 */
RP_MUST rp_err rp_ws_next(struct rp_ws *w, const struct rp_ws_rules *rules, rp_str in, size_t *used,
                          rp_str *pass);
/* Payload of the control frame just met, unmasked; returns its length. */
size_t rp_ws_payload(const struct rp_ws *w, char out[RP_WS_CONTROL_MOST]);
/* May a frame of ours follow what went on so far? */
bool rp_ws_is_between(const struct rp_ws *w);

enum { RP_WS_ACCEPT_BYTES = 28 };
/* Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 §4.2.2). */
void rp_ws_accept(rp_str key, char out[RP_WS_ACCEPT_BYTES]);
/* Is this a key that a client may send: 16 bytes in base64? (§4.1) */
bool rp_ws_is_key(rp_str key);

/* A control frame of ours; the payload is cut at RP_WS_CONTROL_MOST. mask: 4 unpredictable bytes where
 * we are the client (§5.3), NULL where we are the server. Returns its length. */
size_t rp_ws_put(char out[RP_WS_FRAME_MOST], uint8_t opcode, rp_str payload, const uint8_t *mask);
/* A Close frame with a status code (§7.4) and a reason. */
size_t rp_ws_put_close(char out[RP_WS_FRAME_MOST], uint16_t code, rp_str reason,
                       const uint8_t *mask);

#endif
