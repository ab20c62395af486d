/* harmony_header.h: reading the headers of messages as models write them, well formed or not.
 *
 *     <|start|>assistant to=functions.tide<|channel|>commentary <|constrain|>json<|message|>
 *              [------ role part -----]           [-- channel part --]    [type part]
 *
 * The recipient may stand in the role part or the channel part, and the type at the end of the channel part. */
#ifndef TEXT_HARMONY_HEADER_H
#define TEXT_HARMONY_HEADER_H

#include "gguf/gguf.h"
#include "text/harmony.h"

/* The text of a header between its special tokens, borrowed. */
typedef struct header_parts {
    gguf_text role, channel, type;
    bool assistant;   /* the role is known already: the prompt ended in it */
    bool has_channel; /* there was a <|channel|> */
    bool has_message; /* ... and a <|message|> at the end */
} header_parts;

/* What a header says. Texts point into the parts; size 0 means none. */
typedef struct harmony_header {
    bool foreign;            /* it opens a message of the user, a tool ...: the model speaks for someone else */
    harmony_channel channel; /* final when none can be made out, so that nothing is lost */
    gguf_text recipient;     /* in full; none when it is the assistant or the user */
    gguf_text type;
    gguf_text body;       /* what must be meant as the message's text if there is no <|message|> */
    bool mended;          /* it is not quite what the format asks for, ... */
    harmony_recovery how; /* ... first of all in this */
} harmony_header;

harmony_header harmony_header_read(const header_parts *parts);

/* The function that a call of `recipient` must mean, though it is spelled differently: another prefix or none, other
 * punctuation or capitals, a wrong letter in four. NULL when the name is right, or resembles none. */
const char *harmony_header_mend_recipient(const char *recipient, const harmony_function *functions, size_t count);

/* Whether a role part that begins with `text` can still become one. Otherwise it is the text of a message whose header
 * was left out. */
bool harmony_header_may_be_role(gguf_text text, bool assistant);

#endif
