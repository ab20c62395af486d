/* The part of harmony.h that reads what models write.
 *
 * Models stray from the format; these are the ways that were seen, and how they are mended:
 * - no <|start|>assistant between messages: whatever follows <|end|> begins a header;
 * - no <|end|>: <|start|> or <|channel|> inside a text begins the next message;
 * - no header at all: text that cannot be a role is a final message;
 * - no <|message|>: what follows the header's words is the text, once the message ends or grows past any header;
 * - two <|channel|>s in a header: the last one counts, and a recipient in either; a misspelt, doubled or cut channel
 * name: the nearest; an unknown one or none: final, so that the user sees it;
 * - noise in a header, such as question marks, is dropped; stray special tokens inside texts too;
 * - a call of a function in another spelling reaches the function that was offered;
 * - a message in the name of the user or a tool ends the turn: it is not the model's to write. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/harmony.h"
#include "text/harmony_header.h"

enum { PART_ROLE, PART_CHANNEL, PART_TYPE, PARTS };

typedef enum parser_state { IN_HEADER, IN_TEXT, DONE } parser_state;

struct harmony_parser {
    harmony format;
    harmony_sink *sink;
    void *context;
    parser_state state;

    buffer parts[PARTS]; /* text of the header so far */
    int part;            /* the one being written */
    bool assistant;      /* the prompt named the role already */

    harmony_kind kind; /* of the message at hand */
    harmony_channel channel;
    buffer recipient, type;
    utf8_stream stream;
    bool has_text;
    buffer fresh; /* text on its way out */

    bool had_text[HARMONY_KINDS]; /* in messages before this one */
    bool called;                  /* there were tool calls */
    bool by_model;                /* the model ended the turn */
    harmony_recoveries recoveries;

    const harmony_function *functions; /* the model was offered; borrowed */
    size_t function_count;
};

gptoss_status harmony_parser_open(const harmony *h, harmony_sink *sink, void *context, harmony_parser **out,
                                  gptoss_error *err) {
    harmony_parser *p;
    TRY(mem_array(1, sizeof *p, "Harmony parser", &p, err));
    p->format = *h;
    p->sink = sink;
    p->context = context;
    p->assistant = true;
    *out = p;
    return GPTOSS_OK;
}

void harmony_parser_close(harmony_parser *p) {
    if (!p) return;
    for (int i = 0; i < PARTS; i++) buffer_free(&p->parts[i]);
    buffer_free(&p->recipient);
    buffer_free(&p->type);
    buffer_free(&p->fresh);
    free(p);
}

bool harmony_parser_done(const harmony_parser *p) { return p->state == DONE; }
const harmony_recoveries *harmony_parser_recoveries(const harmony_parser *p) { return &p->recoveries; }

void harmony_parser_offer(harmony_parser *p, const harmony_function *functions, size_t count) {
    p->functions = functions;
    p->function_count = count;
}

harmony_finish harmony_parser_result(const harmony_parser *p) {
    if (!p->by_model) return HARMONY_FINISH_LENGTH;
    return p->called ? HARMONY_FINISH_TOOL_CALLS : HARMONY_FINISH_STOP;
}

static void mend(harmony_parser *p, harmony_recovery how) { p->recoveries.counts[how]++; }

static void begin_header(harmony_parser *p) {
    for (int i = 0; i < PARTS; i++) buffer_clear(&p->parts[i]);
    p->part = PART_ROLE;
    p->assistant = false;
    p->state = IN_HEADER;
}

static void end_turn(harmony_parser *p) {
    if (!p->called && !p->had_text[HARMONY_CONTENT]) mend(p, HARMONY_MENDED_ANSWER);
    p->by_model = true;
    p->state = DONE;
}

/* ---- Messages ---- */

static gptoss_status emit(harmony_parser *p, harmony_event event, gptoss_error *err) {
    event.kind = p->kind;
    event.channel = p->channel;
    event.recipient = p->recipient.size ? p->recipient.data : "";
    event.content_type = p->type.size ? p->type.data : "";
    return p->sink(p->context, &event, err);
}

/* Hands out the whole characters in p->fresh. */
static gptoss_status emit_fresh(harmony_parser *p, gptoss_error *err) {
    if (p->fresh.size == 0) return GPTOSS_OK;
    harmony_event event = {.type = HARMONY_EVENT_TEXT,
                           .text = p->fresh.data,
                           .size = p->fresh.size,
                           .joins = !p->has_text && p->had_text[p->kind]};
    p->has_text = true;
    return emit(p, event, err);
}

static gptoss_status add_text(harmony_parser *p, const char *bytes, size_t size, gptoss_error *err) {
    buffer_clear(&p->fresh);
    TRY(utf8_stream_add(&p->stream, bytes, size, &p->fresh, err));
    return emit_fresh(p, err);
}

/* Puts the header's recipient into p->recipient, or the function it must mean. */
static gptoss_status set_recipient(harmony_parser *p, const harmony_header *header, gptoss_error *err) {
    buffer_clear(&p->recipient);
    TRY(utf8_repair(header->recipient.bytes, header->recipient.size, &p->recipient, err));
    if (p->recipient.size == 0 || p->function_count == 0) return GPTOSS_OK;
    const char *meant = harmony_header_mend_recipient(p->recipient.data, p->functions, p->function_count);
    if (!meant) return GPTOSS_OK;
    if (!header->mended) mend(p, HARMONY_MENDED_RECIPIENT);
    buffer_clear(&p->recipient);
    return buffer_printf(&p->recipient, err, "functions.%s", meant);
}

static gptoss_status begin_message(harmony_parser *p, const harmony_header *header, gptoss_error *err) {
    TRY(set_recipient(p, header, err));
    buffer_clear(&p->type);
    TRY(utf8_repair(header->type.bytes, header->type.size, &p->type, err));
    p->channel = header->channel;
    p->kind = p->recipient.size                ? HARMONY_TOOL_CALL
              : p->channel == HARMONY_ANALYSIS ? HARMONY_REASONING
                                               : HARMONY_CONTENT;
    p->stream = (utf8_stream){0};
    p->has_text = false;
    p->called |= p->kind == HARMONY_TOOL_CALL;
    if (header->mended) mend(p, header->how);
    p->state = IN_TEXT;
    return emit(p, (harmony_event){.type = HARMONY_EVENT_BEGIN}, err);
}

/* Ends the message at hand; what follows is a header. */
static gptoss_status end_message(harmony_parser *p, bool complete, gptoss_error *err) {
    buffer_clear(&p->fresh);
    TRY(utf8_stream_end(&p->stream, &p->fresh, err));
    TRY(emit_fresh(p, err));
    if (p->kind != HARMONY_TOOL_CALL && p->has_text) p->had_text[p->kind] = true;
    if (p->kind == HARMONY_TOOL_CALL && !complete) mend(p, HARMONY_MENDED_CALL);
    begin_header(p);
    return emit(p, (harmony_event){.type = HARMONY_EVENT_END, .complete = complete}, err);
}

/* ---- Headers ---- */

static gguf_text part_text(const harmony_parser *p, int part) {
    return (gguf_text){p->parts[part].size ? p->parts[part].data : "", p->parts[part].size};
}

static harmony_header read_header(const harmony_parser *p, bool has_message) {
    header_parts parts = {.role = part_text(p, PART_ROLE),
                          .channel = part_text(p, PART_CHANNEL),
                          .type = part_text(p, PART_TYPE),
                          .assistant = p->assistant,
                          .has_channel = p->parts[PART_CHANNEL].size > 0 || p->part == PART_CHANNEL,
                          .has_message = has_message};
    return harmony_header_read(&parts);
}

static bool is_empty_header(const harmony_parser *p) { return p->part == PART_ROLE && p->parts[PART_ROLE].size == 0; }

/* Letters, digits or anything beyond ASCII. */
static bool says_something(gguf_text text) {
    for (size_t i = 0; i < text.size; i++) {
        char c = text.bytes[i];
        if ((c & 0x80) || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')) return true;
    }
    return false;
}

/* A message in the name of someone else: it is not the model's to write. */
static gptoss_status refuse_role(harmony_parser *p) {
    mend(p, HARMONY_MENDED_ROLE);
    end_turn(p);
    return GPTOSS_OK;
}

/* The header has no <|message|>. If it holds text, or with `call` a tool's name, it becomes a message, which is left
 * open; otherwise it is dropped. */
static gptoss_status salvage(harmony_parser *p, bool call, gptoss_error *err) {
    harmony_header header = read_header(p, false);
    if (header.foreign) return refuse_role(p);
    bool text = says_something(header.body);
    bool channel = p->parts[PART_CHANNEL].size > 0;
    mend(p, !text && !header.recipient.size    ? HARMONY_MENDED_NOISE
            : channel || header.recipient.size ? HARMONY_MENDED_MESSAGE
                                               : HARMONY_MENDED_HEADER);
    if (!text && !(call && header.recipient.size)) {
        begin_header(p);
        return GPTOSS_OK;
    }
    header.mended = false; /* it was counted just now */
    TRY(begin_message(p, &header, err));
    return text ? add_text(p, header.body.bytes, header.body.size, err) : GPTOSS_OK;
}

/* Ends whatever is going on: afterwards a header begins, or the turn is over. */
static gptoss_status close_message(harmony_parser *p, bool call, bool complete, gptoss_error *err) {
    if (p->state == IN_HEADER && !is_empty_header(p)) TRY(salvage(p, call, err));
    if (p->state == IN_TEXT) return end_message(p, complete, err);
    return GPTOSS_OK;
}

static gptoss_status add_header_text(harmony_parser *p, const char *bytes, size_t size, gptoss_error *err) {
    buffer *part = &p->parts[p->part];
    TRY(buffer_append(part, bytes, size, err));
    size_t total = 0;
    for (int i = 0; i < PARTS; i++) total += p->parts[i].size;
    bool role = p->part != PART_ROLE || harmony_header_may_be_role((gguf_text){part->data, part->size}, p->assistant);
    return role && total <= HARMONY_HEADER_LIMIT ? GPTOSS_OK : salvage(p, false, err);
}

/* ---- Tokens ---- */

static gptoss_status on_start(harmony_parser *p, gptoss_error *err) {
    if (p->state == IN_TEXT)
        mend(p, HARMONY_MENDED_END);
    else if (p->assistant)
        mend(p, HARMONY_MENDED_START); /* the prompt's once more */
    TRY(close_message(p, false, true, err));
    if (p->state != DONE) begin_header(p);
    return GPTOSS_OK;
}

/* A second <|channel|> in a header: of what came before it, text becomes a message and a recipient stays. */
static gptoss_status restart_channel(harmony_parser *p, gptoss_error *err) {
    harmony_header header = read_header(p, false);
    if (header.foreign) return refuse_role(p);
    if (header.recipient.size == 0 && says_something(header.body)) return close_message(p, false, true, err);
    mend(p, HARMONY_MENDED_TWO_CHANNELS);
    buffer_clear(&p->recipient);
    TRY(buffer_append(&p->recipient, header.recipient.bytes, header.recipient.size, err));
    begin_header(p);
    p->assistant = true;
    if (p->recipient.size == 0) return GPTOSS_OK;
    return buffer_printf(&p->parts[PART_ROLE], err, " to=%s", p->recipient.data);
}

static gptoss_status on_channel(harmony_parser *p, gptoss_error *err) {
    if (p->state == IN_TEXT) {
        mend(p, HARMONY_MENDED_END);
        TRY(end_message(p, true, err));
    } else if (p->part != PART_ROLE) {
        TRY(restart_channel(p, err));
    }
    if (p->state != DONE) p->part = PART_CHANNEL;
    return GPTOSS_OK;
}

static gptoss_status on_message(harmony_parser *p, gptoss_error *err) {
    if (p->state == IN_TEXT) {
        mend(p, HARMONY_MENDED_STRAY);
        return GPTOSS_OK;
    }
    harmony_header header = read_header(p, true);
    return header.foreign ? refuse_role(p) : begin_message(p, &header, err);
}

static gptoss_status on_end(harmony_parser *p, gptoss_error *err) {
    if (p->state == IN_HEADER && is_empty_header(p)) mend(p, HARMONY_MENDED_STRAY); /* one <|end|> too many */
    return close_message(p, false, true, err);
}

static gptoss_status on_end_of_turn(harmony_parser *p, uint32_t id, gptoss_error *err) {
    TRY(close_message(p, id == p->format.ids[HARMONY_CALL], true, err));
    end_turn(p);
    return GPTOSS_OK;
}

gptoss_status harmony_parser_feed(harmony_parser *p, uint32_t id, gptoss_error *err) {
    const uint32_t *ids = p->format.ids;
    size_t size;
    if (p->state == DONE) return GPTOSS_OK;
    if (id == ids[HARMONY_START]) return on_start(p, err);
    if (id == ids[HARMONY_CHANNEL]) return on_channel(p, err);
    if (id == ids[HARMONY_MESSAGE]) return on_message(p, err);
    if (id == ids[HARMONY_END]) return on_end(p, err);
    if (tokenizer_ends_text(p->format.tokenizer, id)) return on_end_of_turn(p, id, err);
    if (id == ids[HARMONY_CONSTRAIN] && p->state == IN_HEADER) {
        p->part = PART_TYPE;
        return GPTOSS_OK;
    }
    const char *bytes = tokenizer_bytes(p->format.tokenizer, id, &size);
    if (!bytes || tokenizer_is_special(p->format.tokenizer, id)) { /* it has no meaning here */
        mend(p, HARMONY_MENDED_STRAY);
        return GPTOSS_OK;
    }
    return p->state == IN_TEXT ? add_text(p, bytes, size, err) : add_header_text(p, bytes, size, err);
}

gptoss_status harmony_parser_finish(harmony_parser *p, gptoss_error *err) {
    if (p->state == DONE) return GPTOSS_OK;
    TRY(close_message(p, false, false, err));
    p->state = DONE;
    return GPTOSS_OK;
}
